"""Recordings that strangers made, or that were damaged: an error of ours, and soon."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tasktools as tt
from tasktools.core.server_facts import ServerFacts
from tasktools.history.store import File
from tests.recorded import Scene
from tests.timing import within
from tests.unit.diagnosis import facts_factory as make

_SOON = 20.0  # seconds; a hang lasts for ever, and this machine is busy


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a recording with something in every table, as bytes."""
    scene = Scene(tmp_path_factory.mktemp("good") / "ops.db", bodies=True)
    for n in range(30):
        scene.cluster.broker.publish("emails", {"task_name": "shop:send", "task_id": f"t{n}"})
        scene.beat("worker-1", [f"t{n}"], topics=("emails",))
        scene.task("task_started", f"t{n}", topic="emails", worker_id="worker-1")
        scene.task("task_failed" if n % 2 else "task_completed", f"t{n}", topic="emails")
        scene.tick()
    scene.cluster.mark("deploy 1.4")
    scene.recorder.close()
    with sqlite3.connect(scene.path) as connection:
        histogram = "SELECT topic, max(at), 2, 1.5, '[[0.5,1],[1.0,1]]' FROM topic_samples"
        connection.execute(f"INSERT INTO durations {histogram}")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    content = scene.path.read_bytes()
    scene.cluster.close()
    return content


@pytest.fixture
def file(good: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "stranger.db"
    path.write_bytes(good)
    return path


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA writable_schema=ON")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def questions(cluster: tt.Cluster) -> list[Callable[[], Any]]:
    """Return all that can be asked of a recording."""
    return [
        *(cluster.workers, cluster.topics, cluster.stats, cluster.locks, cluster.topic_settings),
        *(cluster.active_tasks, cluster.queue_depth, cluster.utilisation, cluster.throughput),
        *(cluster.waiting_time, cluster.service_time, cluster.task_events, cluster.failures),
        *(cluster.cluster_events, cluster.gaps, cluster.marks, cluster.published),
        *(cluster.tasks, cluster.broker.server_facts),
        lambda: cluster.utilisation(by="topic", every="1min"),
        lambda: cluster.utilisation(by="cluster"),
        lambda: cluster.workers(at="10s"),
        lambda: tt.timeline(cluster),
        lambda: tt.capacity.inputs(cluster),
        lambda: tt.capacity.solve(cluster, utilisation_below=0.8, clear_within="1h"),
        lambda: tt.capacity.curve(cluster),
        lambda: tt.capacity.by_hour(cluster),
        lambda: tt.drain_forecast(cluster, "emails"),
        lambda: tt.drain_forecast(cluster, "emails", level=0, horizon="1D"),
        lambda: tt.replay_impact(cluster, "emails", messages=5, rate=0.5),
        lambda: tt.diagnose(cluster),
        lambda: tt.topic_states(cluster),
        lambda: cluster.plan_replay(cluster.failures()),
    ]


def ask_all(path: Path) -> list[str]:
    """Ask everything of a recording; returns what the errors say, which must all be ours."""
    errors: list[str] = []
    with within(_SOON, "all questions"):
        try:
            cluster = tt.connect(f"sqlite:///{path}")
        except tt.TaskToolsError as error:
            return [str(error)]
        for question in questions(cluster):
            try:
                question()
            except tt.TaskToolsError as error:
                errors.append(str(error))
        repr(cluster)
        cluster.close()
    return errors


def test_a_good_recording_answers_all(file: Path) -> None:
    """Issue 11, secrets: the questions of these tests are answered by a file of ours."""
    assert ask_all(file) == []


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE sessions ;; CREATE VIEW sessions AS " + ENDLESS,
        "DROP TABLE ticks ;; CREATE VIEW ticks AS " + ENDLESS,
        "CREATE VIEW more AS " + ENDLESS,
        "DROP TABLE names ;; CREATE VIRTUAL TABLE names USING fts5(id, name)",
        "CREATE TRIGGER mine AFTER INSERT ON sessions BEGIN DELETE FROM ticks; END",
        "DROP TABLE gaps ;; CREATE TABLE gaps (since INTEGER, until INTEGER, what TEXT, "
        "why TEXT GENERATED ALWAYS AS (hex(zeroblob(500000000))))",
        "CREATE INDEX mine ON ticks (abs(at))",
        "ALTER TABLE ticks ADD COLUMN mine INTEGER CHECK (mine IS NULL)",
        "CREATE TABLE mine (x)",
    ],
)
def test_only_tables_as_a_recorder_makes_them_are_read_and_written(
    statement: str, file: Path
) -> None:
    """Issue 11, secrets: endless recursive views in place of tables hung `connect`."""
    change(file, *statement.split(" ;; "))
    before = file.read_bytes()
    with pytest.raises(tt.RecordingError, match="is not a recording of tasktools: its"):
        tt.connect(f"sqlite:///{file}")
    with (
        tt.connect("memory://") as cluster,
        pytest.raises(tt.RecordingError, match="not one of a recorder; nothing was changed"),
    ):
        cluster.record(file).start()
    assert file.read_bytes() == before


def test_a_query_without_an_end_is_broken_off(file: Path) -> None:
    """Issue 11, secrets: a progress handler with a bound."""
    with (
        within(_SOON),
        pytest.raises(tt.RecordingError, match=r"did not answer within 0\.3 s"),
        File(file).read(within=0.3) as connection,
    ):
        connection.execute(ENDLESS.replace("SELECT x FROM n", "SELECT max(x) FROM n")).fetchall()


# All that is asked needs these, so each is damaged by itself.
_FIRST = {
    "names": ["name"],
    "sessions": ["started", "last", "every", "cluster", "layout", "server"],
    "ticks": ["at", "span", "n", "turn", "running", "events_age", "events_ok", "events_note"],
}
# Each of these is asked by itself, so one column of each is damaged at once.
_OTHERS = {
    "topic_samples": ["queued", "queued_max", "running", "began", "topic", "queue_type", "n"],
    "worker_samples": ["fact", "state", "running", "last_seen", "silence", "worker", "capacity"],
    "worker_facts": ["facts"],
    "durations": ["count", "sum", "buckets", "at", "topic"],
    "tries": ["at", "started", "ended", "outcome", "duration", "error", "task", "topic", "name"],
    "try_details": ["traceback", "args", "kwargs", "at"],
    "events": ["at", "event", "sender", "detail", "topic"],
    "messages": ["properties", "body", "at", "topic", "task", "published", "attempts", "size"],
}
_COLUMNS = [
    *([(table, name)] for table, names in _FIRST.items() for name in names),
    *(
        [(table, names[n]) for table, names in _OTHERS.items() if n < len(names)]
        for n in range(max(map(len, _OTHERS.values())))
    ),
]
_KEYS = {"worker_samples": "at", "topic_samples": "topic", "durations": "topic"}
_VALUES = {
    "blob": "x'ff00fe'",
    "huge": "9e300",
    "infinite": "9e999",
    "large": "9223372036854775807",
    "negative": "-9223372036854775808",
    "text": "'of a stranger'",
    "no UTF-8": "CAST(x'fffe80' AS TEXT)",
}


def test_values_of_wrong_types_are_errors_of_ours(good: bytes, tmp_path: Path) -> None:
    """Issue 11, secrets: blobs and 9e300 in columns were raw exceptions."""
    refused = 0
    values = itertools.cycle(_VALUES.values())
    for n, columns in enumerate(_COLUMNS):
        file = tmp_path / f"{n}.db"
        file.write_bytes(good)
        for table, column in columns:
            key = _KEYS.get(table, "rowid")
            where = f"{key} = (SELECT max({key}) FROM {table})"
            with contextlib.suppress(sqlite3.IntegrityError):  # a rowid is always a number
                change(
                    file, f"UPDATE OR IGNORE {table} SET {column} = {next(values)} WHERE {where}"
                )
        refused += bool(ask_all(file))
    assert refused > len(_COLUMNS) / 2


def test_damaged_pages_and_cells_are_errors_of_ours(good: bytes, tmp_path: Path) -> None:
    """Issue 11, secrets: 50 mutations of a good file, always the same."""
    choose = random.Random(11)
    file = tmp_path / "damaged.db"
    refused = 0
    for _ in range(50):
        content = bytearray(good)
        for _ in range(choose.choice((1, 4, 64))):
            content[_place(choose, len(content))] = choose.choice((0, 1, 0x7F, 0x80, 0xFF))
        file.write_bytes(content)
        refused += bool(ask_all(file))
    assert refused > 5


def _place(choose: random.Random, size: int) -> int:
    """Return a place to damage: often within the head of a page, where its structure is."""
    if choose.random() < 0.6:
        page = choose.randrange(size // 4096)
        return page * 4096 + (100 if page == 0 else 0) + choose.randrange(60)
    return choose.randrange(size)


_SERIES: dict[str, Any] = {
    name: make.level(10)
    for name in ("ready_series", "unacked_series", "published", "acked", "delivered", "redelivered")
}


@pytest.mark.parametrize("times", [(), (0.0, 1.0)], ids=["too few", "too many"])
def test_facts_of_the_server_that_do_not_fit_are_errors_of_ours(
    times: tuple[float, ...], file: Path
) -> None:
    """Samples with more times than values, or with fewer, were a raw exception of a rule."""
    connection = sqlite3.connect(file, isolation_level=None)
    (at,) = connection.execute("SELECT max(at) FROM ticks").fetchone()
    facts = msgspec.to_builtins(
        ServerFacts(at=at / 1000, missing={}, queues={"emails": make.queue(**_SERIES)})
    )
    queue = facts["queues"]["emails"]
    for name in _SERIES:
        queue[name]["times"] = times
    stored = zlib.compress(msgspec.msgpack.encode(facts))
    connection.execute("INSERT OR REPLACE INTO server_facts VALUES (?, ?)", (at, stored))
    connection.close()
    with (
        tt.connect(f"sqlite:///{file}") as cluster,
        pytest.raises(tt.RecordingError, match="nothing was changed"),
    ):
        tt.diagnose(cluster)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_an_error_of_ours(share: float, file: Path) -> None:
    """Issue 11, secrets: a truncated file."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert ask_all(file)


def test_journals_of_a_stranger_are_errors_of_ours_or_nothing(good: bytes, tmp_path: Path) -> None:
    """Issue 11, secrets: a hostile ``-wal``, ``-shm`` or ``-journal``."""
    choose = random.Random(12)
    file = tmp_path / "ops.db"
    for suffix in ("-wal", "-shm", "-journal"):
        for size in (1, 32, 4_152, 40_000):
            file.write_bytes(good)
            beside = tmp_path / f"ops.db{suffix}"
            beside.write_bytes(choose.randbytes(size))
            ask_all(file)
            beside.unlink(missing_ok=True)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "device"])
def test_what_is_no_file_is_not_opened(kind: str, suffix: str, file: Path) -> None:
    """Issue 11, secrets: a pipe blocks whoever opens it; a link leads to a file of mine."""
    mine = file.with_name("mine.txt")
    mine.write_text("mine")
    path = file.with_name(file.name + suffix)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else mine)
    (error,) = ask_all(file)
    why = "(file is not a database)" if (kind, suffix) == ("link", "") else "is not a file"
    assert f"{why}; nothing was changed." in error
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("version", [0, -1, 5, 2**31 - 1])
def test_formats_that_are_not_known_are_refused(version: int, file: Path) -> None:
    """Issue 11, secrets: wrong schema versions."""
    change(file, f"PRAGMA user_version={version}")
    (error,) = ask_all(file)
    assert f"has format {version}, which" in error


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_recording_of_a_format_before_answers_all_and_is_gone_on_with(
    version: int, file: Path
) -> None:
    """Issue 11, row 14: the histograms of heartbeats came with format 2, marks with format 3,
    details of failures with format 4."""
    later = {"try_details": 4, "marks": 3, "server_facts": 3, "durations": 2}
    older = [f"DROP TABLE {table}" for table, since in later.items() if version < since]
    change(file, *older, f"PRAGMA user_version={version}")
    assert ask_all(file) == []
    with tt.connect("memory://") as cluster, cluster.record(file, every=60):
        pass
    assert ask_all(file) == []
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    if version < 3:
        assert connection.execute("SELECT count(*) FROM marks").fetchone() == (0,)
    if version == 1:
        assert connection.execute("SELECT count(*) FROM durations").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET last = x'ff'",
        "UPDATE sessions SET last = 'text'",
        "UPDATE OR REPLACE tries SET n = 9223372036854775807",
    ],
)
def test_a_recorder_that_goes_on_with_a_strange_file_says_so(statement: str, file: Path) -> None:
    """Issue 11, secrets: recording into a file that a stranger made."""
    change(file, statement)
    with tt.connect("memory://") as cluster:
        recorder = cluster.record(file)
        with pytest.raises(tt.RecordingError, match="nothing was changed"):
            recorder.start()
        recorder.close()


def test_ctrl_c_breaks_off_a_long_query(file: Path) -> None:
    """Issue 11, secrets: the hang could not be interrupted."""
    import _thread
    import threading

    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt), File(file).read() as connection:
        connection.execute(ENDLESS.replace("SELECT x FROM n", "SELECT max(x) FROM n")).fetchall()


@pytest.mark.parametrize("name", ["a\x00b", "x" * 300, "nobody/\udcff.db"])
def test_names_that_no_file_can_have_are_errors_of_ours(name: str, tmp_path: Path) -> None:
    """Issue 11, secrets: what is given as the path of a recording."""
    with pytest.raises(tt.RecordingError, match="nothing was changed"):
        tt.connect(f"sqlite:///{tmp_path}/{name}")
    with tt.connect("memory://") as cluster:
        recorder = cluster.record(tmp_path / name)
        if "nobody" in name:  # bytes that are no UTF-8: a file may be called so
            recorder.start()
            recorder.close()
            assert recorder.problem is None
            with tt.connect(recorder.recording.name) as history:
                assert len(history.utilisation(by="cluster")) == 2
        else:
            with pytest.raises(tt.RecordingError, match="nothing was changed"):
                recorder.start()
