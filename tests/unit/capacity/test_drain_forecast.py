"""`drain_forecast`: recordings and live clusters, and the log by which it learns."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.capacity.drain.bins import Timing
from tasktools.capacity.drain.drain_forecast import answer_of, score_waiting
from tasktools.capacity.drain.forecast_log import opened as log_of
from tasktools.replay.ledger import Ledger
from tests.capacity.recordings import Sample, record
from tests.recorded import START

TOPIC = "emails"


def draining(
    seconds: int,
    depth: float = 4000.0,
    net: float = 2.0,
    *,
    slots: float | None = 8.0,
    every: int = 5,
) -> list[Sample]:
    """Return samples of a queue that loses *net* tasks a second, of 10 that end."""
    return [
        (at, max(depth - net * at, 0.0), (10.0 - net * 0) * every, 10.0 * every, slots)
        for at in range(0, seconds, every)
    ]


def opened(path: Path, samples: list[Sample]) -> tt.Cluster:
    record(path, TOPIC, samples)
    return tt.connect(f"sqlite:///{path}")


def row(cluster: tt.Cluster, at: str | None = None, **options: Any) -> Any:
    shown = cluster if at is None else cluster.at(at)
    frame = tt.drain_forecast(shown, TOPIC, **options)
    assert len(frame) == 1
    return frame.iloc[0]


def test_a_recorded_drain_is_forecast_with_a_band(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db", draining(1200)) as cluster:
        made = row(cluster)
    end = pd.Timestamp(START + (4000 - 10) / 2, unit="s", tz="UTC")
    assert made["earliest"] < end < made["latest"]
    assert abs(made["expected"] - end) < pd.Timedelta("90s")
    assert (made["depth"], made["level"], made["slots"], made["scored"]) == (1610, 10, 8, 0)
    assert made["arrivals"] == pytest.approx(8, rel=0.05)
    assert made["completions"] == pytest.approx(10, rel=0.05)
    assert made["net"] == pytest.approx(-2, rel=0.1)
    assert made["not_within"] < 0.05
    assert "down to 10 between" in made["note"]


def test_a_queue_that_grows_has_no_end_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db", draining(1200, net=-10.0)) as cluster:
        made = row(cluster)
    assert made[["earliest", "latest"]].isna().all()
    assert made["not_within"] > 0.9
    assert made["note"].startswith("will not end at this rate")


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (draining(60), "only 55 s of it are known"),
        ([(at, 60.0 * (at > 500), 5.0, 5.0, 8.0) for at in range(0, 600, 5)], "not been filled"),
    ],
)
def test_nothing_known_is_missing_with_a_note(
    tmp_path: Path, samples: list[Sample], why: str
) -> None:
    with opened(tmp_path / "r.db", samples) as cluster:
        made = row(cluster)
        assert made[["earliest", "expected", "latest", "not_within", "net"]].isna().all()
        assert made["note"].startswith("not known: ")
        assert why in made["note"]
        unknown = tt.drain_forecast(cluster, "emials").iloc[0]
    assert unknown["note"].endswith("did you mean 'emails'?")
    assert pd.isna(unknown["depth"])


def test_an_empty_queue_is_drained_now(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db", [(at, 3.0, 5.0, 5.0, 8.0) for at in range(0, 60, 5)]) as cluster:
        made = row(cluster)
    assert made["earliest"] == made["latest"] == made["at"]
    assert (made["not_within"], made["note"]) == (0, "at 3 now, no more than 10")
    assert pd.isna(made["net"])  # 55 s tell no rate


def test_a_time_without_events_is_no_time_without_arrivals(tmp_path: Path) -> None:
    record(tmp_path / "r.db", TOPIC, draining(1200))
    since, until = (round(1000 * (START + at)) for at in (300, 900))
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("INSERT INTO gaps VALUES (?, ?, 'events', 'cut')", (since, until))
        connection.execute(
            "UPDATE topic_samples SET began = 0, done = 0 WHERE at > ? AND at <= ?", (since, until)
        )
    connection.close()
    with tt.connect(f"sqlite:///{tmp_path / 'r.db'}") as cluster:
        assert row(cluster)["completions"] == pytest.approx(10, rel=0.1)


def test_what_comes_all_at_once_after_an_alarm_did_not_arrive_then(tmp_path: Path) -> None:
    """Workers send after it what they could not send: 7,200 tasks began in a moment, it seemed."""
    record(tmp_path / "r.db", TOPIC, draining(1200))
    since, until, now = (round(1000 * (START + at)) for at in (265, 1165, 1170))
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("INSERT INTO gaps VALUES (?, ?, 'events', 'alarm')", (since, until))
        connection.execute(
            "UPDATE topic_samples SET began = 0, done = 0 WHERE at > ? AND at <= ?", (since, until)
        )
        connection.execute(
            "UPDATE topic_samples SET began = 7250, done = 9050 WHERE at = ?", (now,)
        )
    connection.close()
    with tt.connect(f"sqlite:///{tmp_path / 'r.db'}") as cluster:
        made = row(cluster)
    assert made["arrivals"] == pytest.approx(8, rel=0.1)
    assert made["completions"] == pytest.approx(10, rel=0.1)


def test_a_topic_that_the_broker_knows_no_consumer_of_is_left_at_once(tmp_path: Path) -> None:
    """Its workers were killed, and are missed after 30 s only."""
    standing = [(at, 2000.0, 0.0, 0.0, 8.0) for at in range(1000, 1010, 5)]
    with opened(tmp_path / "r.db", [*draining(1000), *standing]) as cluster:
        assert row(cluster)["slots"] == 8
        with sqlite3.connect(tmp_path / "r.db") as connection:
            connection.execute(
                "UPDATE topic_samples SET consumers = 0 WHERE at >= ?", (1000 * (START + 1000),)
            )
        connection.close()
        made = row(cluster)
    assert made["slots"] == 0
    assert made["note"].startswith("will not end: no worker takes this topic")


def test_a_purge_is_no_time_without_arrivals(tmp_path: Path) -> None:
    samples = [(at, depth + 9000.0 * (at < 600), *rest) for at, depth, *rest in draining(1200)]
    with opened(tmp_path / "r.db", samples) as cluster:  # type: ignore[arg-type]
        assert row(cluster)["arrivals"] == pytest.approx(8, rel=0.1)


def test_slots_that_nobody_tells_are_missing_and_the_rate_is_not(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db", draining(1200, slots=None)) as cluster:
        made = row(cluster)
        notes = tt.drain_forecast(cluster, TOPIC).attrs["notes"]
    assert pd.isna(made["slots"])
    assert made["completions"] == pytest.approx(10, rel=0.05)
    assert any("at once is not known" in note for note in notes)


def test_the_level_is_the_usual_length_of_the_queue(tmp_path: Path) -> None:
    usual = [(at, 40.0, 300.0, 300.0, 8.0) for at in range(0, 100_000, 60)]
    backlog = [(100_000 + at, max(3000.0 - at, 40), 50.0, 50.0, 8.0) for at in range(0, 1200, 5)]
    with opened(tmp_path / "r.db", [*usual, *backlog]) as cluster:
        assert row(cluster)["level"] == 40
        assert row(cluster, level=500)["level"] == 500


def test_the_hour_of_the_day_is_known_from_a_recording_of_days(tmp_path: Path) -> None:
    """START is 8:00; arrivals stop at 9:00 each day, so the drain is quicker than it looks."""

    def rate(at: float) -> float:
        return 6.0 if (at / 3600 + 8) % 24 < 9 else 0.6

    days = [(at, 5.0, rate(at) * 120, rate(at) * 120, 8.0) for at in range(0, 4 * 86_400, 120)]
    start = 4 * 86_400
    backlog = []
    depth = 20_000.0
    for at in range(start, start + 3000, 5):
        backlog.append((at, depth, 40.0, 40.0, 8.0))
        depth += 5 * rate(at) - 40.0
    with opened(tmp_path / "r.db", [*days, *backlog]) as cluster:
        made = row(cluster, level=10)
        notes = tt.drain_forecast(cluster, TOPIC, level=10).attrs["notes"]
    left = made["expected"] - made["at"]
    assert left < 0.75 * pd.Timedelta(seconds=made["depth"] / (8 - 6))
    assert not any("daily pattern" in note for note in notes)


@pytest.mark.parametrize(
    "options",
    [
        *({"level": bad} for bad in (-1, math.nan, "10", True)),
        *({"horizon": bad} for bad in ("10s", "2D", None, [1], math.inf, "30 parsecs")),
    ],
)
def test_what_cannot_be_forecast_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with (
        opened(tmp_path / "r.db", draining(60)) as cluster,
        pytest.raises(ValueError, match=r"[Nn]othing was (read|computed)\.$"),
    ):
        row(cluster, **options)


def test_a_path_and_a_topic_without_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match="Open a recording by"):
        tt.drain_forecast("sqlite:///ops.db", TOPIC)  # type: ignore[arg-type]
    with tt.connect("memory://") as cluster, pytest.raises(ValueError, match="topic is None"):
        tt.drain_forecast(cluster, None)  # type: ignore[arg-type]


# --- the log ----------------------------------------------------------------------------


def test_forecasts_are_stored_scored_when_the_drain_has_ended_and_learned_from(
    tmp_path: Path, ledger_file: Path
) -> None:
    with opened(tmp_path / "r.db", draining(2400)) as cluster:
        for at in ("30min", "25min", "20min", "19min"):  # ended 405 s before its end
            assert row(cluster, at)["scored"] == 0
        before_end = row(cluster, "7min")
        after = row(cluster, "3min")
    assert before_end["scored"] == 0  # its truth was not there yet
    assert after["scored"] == 4  # that of 19 min was within 5 min of another
    assert after["covered"] == 1
    assert 0 < after["pinball"] < 1
    assert oct(ledger_file.stat().st_mode)[-3:] == "600"
    assert len(tt.ledger()) == 0  # the ledger's runs are as they were


def test_a_drain_is_scored_when_another_topic_is_asked_or_none(tmp_path: Path) -> None:
    record(tmp_path / "r.db", TOPIC, draining(2400), orders=draining(2400, net=0.5))
    with tt.connect(f"sqlite:///{tmp_path / 'r.db'}") as cluster:
        row(cluster, "20min")
        assert score_waiting(cluster.at("10min"), Timing()) == 1
        other = tt.drain_forecast(cluster.at("3min"), "orders").iloc[0]
        assert (other["scored"], other["covered"]) == (1, 1)
        assert score_waiting(cluster, Timing()) == 1  # that of orders


def test_a_process_that_saw_nothing_leaves_the_forecasts_of_others(tmp_path: Path) -> None:
    record(tmp_path / "all.db", TOPIC, draining(2400))
    record(tmp_path / "late.db", TOPIC, draining(2400)[420:])  # of the same cluster
    with (
        tt.connect(f"sqlite:///{tmp_path / 'all.db'}") as all_of_it,
        tt.connect(f"sqlite:///{tmp_path / 'late.db'}") as late,
    ):
        row(all_of_it, "20min")
        assert score_waiting(late, Timing()) == 1
        assert score_waiting(all_of_it, Timing()) == 0


def test_a_long_forecast_is_not_lost_when_a_short_one_is_made(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db", draining(7200, depth=12_000.0)) as cluster:
        row(cluster, "110min")  # its drain ends 98 min later
        scored = row(cluster, "1min", horizon="1min")
    assert (scored["scored"], scored["covered"]) == (1, 1)


def test_what_never_ends_is_scored_when_its_horizon_is_over(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db", draining(3600, net=-10.0)) as cluster:
        assert row(cluster, "40min", horizon="10min")["not_within"] > 0.9
        assert row(cluster, "35min", horizon="10min")["scored"] == 0
        scored = row(cluster, "28min", horizon="10min")
    assert (scored["scored"], scored["covered"]) == (1, 1)


def test_a_drain_whose_end_was_not_seen_is_not_scored(tmp_path: Path) -> None:
    samples = [each for each in draining(2400) if not 1000 < each[0] < 2000]
    with opened(tmp_path / "r.db", samples) as cluster:
        row(cluster, "25min")
        assert row(cluster, "10s")["scored"] == 0


def test_without_a_ledger_there_is_a_forecast_and_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path))  # a folder
    with opened(tmp_path / "r.db", draining(1200)) as cluster:
        frame = tt.drain_forecast(cluster, TOPIC)
    assert float(frame["not_within"].iloc[0]) < 0.05
    assert any("is not stored" in note for note in frame.attrs["notes"])


@pytest.mark.parametrize(
    "change",
    [
        "times = 'x', earliest = 'soon'",
        "seen_until = -9e300",
        "horizon = -1e308",
        "latest = 9e999",
        "level = -1",
    ],
)
def test_a_ledger_with_forecasts_that_nobody_wrote_is_not_believed(
    change: str, tmp_path: Path, ledger_file: Path
) -> None:
    """A time of 9e300 was an error about the recording, and there was no forecast."""
    with opened(tmp_path / "r.db", draining(2400)) as cluster:
        row(cluster, "30min")
        with sqlite3.connect(ledger_file) as connection:
            connection.execute(f"UPDATE forecasts SET {change}")
        connection.close()
        frame = tt.drain_forecast(cluster.at("3min"), TOPIC)
    assert any("is not stored" in note for note in frame.attrs["notes"])
    assert len(tt.ledger()) == 0


def test_forecasts_of_a_time_that_a_clock_set_back_brings_again_are_deleted(
    tmp_path: Path, ledger_file: Path
) -> None:
    """After the clock was set back another drain lies in the hour that was forecast."""
    with opened(tmp_path / "r.db", draining(2400)) as cluster:
        row(cluster, "30min")
        with cluster.observed() as observation:
            address, at = observation.address, observation.sample.at
        with log_of(Ledger(), address) as log:
            assert log.waiting(at).keys() == {TOPIC}
            log.forget_from(at)
            assert log.waiting(at).keys() == {TOPIC}
            log.forget_from(at - 3600)
            assert log.waiting(at) == {}


def test_a_live_cluster_is_forecast_from_what_was_sampled(tmp_path: Path) -> None:
    """With short bins: the cluster's own recorder samples it whenever it is asked."""
    timing = Timing(bin=1.0, past=30, ahead=120)
    with tt.connect("memory://") as cluster:
        answer = answer_of(cluster, TOPIC, 0, timing)
        assert answer.forecast is None
        assert answer.note.startswith("not known: ")
        assert answer.past.covered is None
