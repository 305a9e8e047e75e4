"""Beats that are missing or double, and clocks that are off, also this machine's."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import Worker
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Finding
from tasktools.diagnosis.rules import clocks
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule for rule in clocks.RULES}


def judged(check: str, facts: Facts) -> list[Any]:
    return list(RULES[check].judge(facts))


def finding(check: str, facts: Facts) -> Finding:
    return judging.only(RULES[check].judge, facts)


def why_unknown(check: str, facts: Facts) -> str:
    (why,) = judging.unknown(RULES[check].judge, facts)
    return why


def beat(name: str = "beat-1", role: str = "worker+beat", **fields: Any) -> Worker:
    return make.worker(name, role=role, **fields)


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_has_none(check: str) -> None:
    assert judged(check, make.facts(workers=[make.worker(), beat()])) == []


@pytest.mark.parametrize("check", RULES)
def test_without_events_it_cannot_be_told(check: str) -> None:
    facts = make.deaf(make.facts(workers=[make.worker(), beat()]))
    assert "cannot be bound" in why_unknown(check, facts)


# --- beat_missing, beat_double ----------------------------------------------------------


def test_a_beat_that_is_silent_is_missing() -> None:
    missing = finding("beat_missing", make.facts(workers=[make.worker(), beat(silence=11)]))
    assert missing.severity == "critical"
    assert "'beat-1', came 11 s ago" in missing.finding
    assert missing.since == make.NOW - 11
    alone = make.facts(workers=[make.worker(), beat(role="beat", silence=200)])
    assert finding("beat_missing", make.amqp_only(alone)).evidence["silence"] == 200


def test_a_goodbye_is_no_proof_of_one() -> None:
    """A peer on standby says it for the beat that was killed."""
    stopped = beat(silence=20, state="stopped")
    missing = finding("beat_missing", make.facts(workers=[make.worker(), stopped]))
    assert missing.against == {"a goodbye, which peers also say for others": True}


def test_a_beat_that_only_presence_remembers_is_missing() -> None:
    gone = make.presence_of(beat(silence=300))
    facts = make.facts(workers=[make.worker()], presence=(gone,))
    assert finding("beat_missing", facts).evidence["silence"] == 300


@pytest.mark.parametrize(
    "workers",
    [
        [beat(silence=9)],
        [beat(silence=60), beat("beat-2")],
    ],
    ids=["late", "another took over"],
)
def test_a_beat_that_is_there(workers: list[Worker]) -> None:
    assert judged("beat_missing", make.facts(workers=workers)) == []


def test_a_beat_that_was_never_heard_is_not_missed() -> None:
    never = why_unknown("beat_missing", make.facts(workers=[make.worker()]))
    assert "whether there should be one is not known" in never
    by_others = [make.worker(), beat(silence=20, uncertain=True)]
    hearsay = make.facts(workers=by_others, presence=())
    assert "no event of a beat came" in why_unknown("beat_missing", hearsay)


def test_two_beats_start_each_task_twice() -> None:
    double = finding("beat_double", make.facts(workers=[beat(), beat("beat-2", host="host-2")]))
    assert double.severity == "warning"
    assert double.evidence == {"beats": ["beat-1", "beat-2"], "hosts": ["host-1", "host-2"]}
    assert "2 processes" in double.finding


@pytest.mark.parametrize("other", [{"silence": 6}, {"uncertain": True}, {"role": "worker"}])
def test_what_is_no_second_beat(other: dict[str, Any]) -> None:
    facts = make.facts(workers=[beat(), beat("beat-2", **other)])
    assert judged("beat_double", facts) == []


# --- clock_off --------------------------------------------------------------------------


def with_offsets(*offsets: float | None) -> Facts:
    return make.facts(
        workers=[
            make.worker(f"worker-{number}", host=f"host-{number}", clock_offset=offset)
            for number, offset in enumerate(offsets)
        ]
    )


def test_a_clock_that_is_off_names_its_worker() -> None:
    off = finding("clock_off", with_offsets(0, 6.4, 0.2))
    assert off.severity == "warning"
    assert "'worker-1' on 'host-1' is 6.4 s ahead of ours" in off.finding
    assert finding("clock_off", with_offsets(0, -2.5)).severity == "suspect"
    assert "behind ours" in finding("clock_off", with_offsets(0, -2.5)).finding
    assert finding("clock_off", make.cold(with_offsets(0, 6.4))).subject == "worker-1"


def test_if_all_are_off_alike_this_machine_is() -> None:
    own_finding = finding("clock_off", with_offsets(6.4, 6.1, 6.9))
    assert own_finding.subject == "this machine"
    assert "6.9 s behind all others" in own_finding.finding
    assert len(judged("clock_off", with_offsets(6.4, -6.1))) == 2


def test_workers_of_a_host_share_a_clock() -> None:
    facts = with_offsets(0, 6.0, 6.1)
    workers = (
        facts.state.workers[0],
        *(replace(worker, host="host-9") for worker in facts.state.workers[1:]),
    )
    one_host = replace(facts, state=replace(facts.state, workers=workers))
    assert finding("clock_off", one_host).workers == ("worker-1", "worker-2")


@pytest.mark.parametrize("offset", [1.9, -1.9, 0.0, None])
def test_half_a_second_is_as_exact_as_it_gets(offset: float | None) -> None:
    assert judged("clock_off", with_offsets(0, offset)) == []
