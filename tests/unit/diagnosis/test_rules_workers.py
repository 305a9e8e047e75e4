"""Workers that are frozen, gone or late, and topics whose workers are gone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import Orphan, Worker
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.rules.workers import (
    worker_frozen,
    worker_gone,
    worker_late,
    workers_gone,
)
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import findings, only, says_nothing, unknown


def with_workers(*workers: Worker, topic: TopicFacts | None = None, **fields: Any) -> Facts:
    """Return facts with these workers of `emails`."""
    return make.facts(topic or make.topic(), workers=workers, **fields)


def silent(seconds: float, worker_id: str = "worker-1", **fields: Any) -> Worker:
    """Return a worker that is silent for so long."""
    return make.worker(worker_id, silence=seconds, **fields)


# --- frozen -------------------------------------------------------------------------------


@pytest.mark.parametrize(("silence", "severity"), [(11.0, "warning"), (31.0, "critical")])
def test_a_silent_worker_that_still_consumes_is_frozen(silence: float, severity: str) -> None:
    still = make.topic(unacked=4, queue=make.queue(acked=make.level(10)))
    finding = only(worker_frozen, with_workers(silent(silence), topic=still))
    assert (finding.severity, finding.subject) == (severity, "worker-1")
    assert finding.topics == ("emails",)
    assert finding.workers == ("worker-1",)
    assert finding.evidence["unacknowledged"] == 4
    assert finding.since == make.NOW - silence
    assert "kill -9 4711" in str(finding.remedy)
    assert not finding.needs_second_look  # its queue had a consumer for 5 s and more


def test_without_samples_of_consumers_a_frozen_worker_needs_a_second_look() -> None:
    topic = make.topic(consumer_series=None)
    assert only(worker_frozen, with_workers(silent(12), topic=topic)).needs_second_look


def test_a_consumer_that_has_just_come_may_be_of_a_new_worker() -> None:
    topic = make.topic(consumers=2, consumer_series=make.samples(1, 1, 1, 1, 2))
    facts = with_workers(silent(12), make.worker("w2"), topic=topic)
    assert only(worker_frozen, facts).needs_second_look


def test_a_single_sample_after_a_pause_does_not_show_that_a_consumer_stays() -> None:
    """Issue 13, healthy days: on a busy machine the looks were 6 to 9 s apart, and a new worker
    consumed before it spoke."""
    counts = make.samples(2, 2, 2, 2, 3, step=9.0)
    topic = make.topic(consumers=3, consumer_series=counts)
    facts = with_workers(silent(140), make.worker("w2"), make.worker("w3"), topic=topic)
    assert only(worker_frozen, facts).needs_second_look


def test_who_has_just_said_goodbye_had_one_of_the_consumers_before() -> None:
    """Issue 13, healthy days: the worker that takes its place consumes, and has not spoken yet."""
    gone = make.worker("w3", state="stopped", stopped_at=make.moment(1))
    workers = [silent(15), make.worker("w2"), gone]
    facts = with_workers(*workers, topic=make.topic(consumers=2))
    assert only(worker_frozen, facts).needs_second_look
    workers[2] = replace(gone, stopped_at=make.moment(30))
    later = with_workers(*workers, topic=make.topic(consumers=2))
    assert not only(worker_frozen, later).needs_second_look


def test_the_open_connection_of_a_worker_of_tasktools_shows_that_it_is_frozen() -> None:
    topic = make.topic(consumers=0)
    named = make.connection(client="tasktools main host-1:4711")
    server = make.server([topic], connections=(named,))
    worker = silent(12, is_tasktools=True, topics=("*",))
    finding = only(worker_frozen, with_workers(worker, topic=topic, server=server))
    assert finding.evidence["connection is open"] is True
    other = make.server([topic], connections=(make.connection(client="x host-1:47"),))
    assert says_nothing(worker_frozen, with_workers(worker, topic=topic, server=other))


def test_of_several_silent_workers_as_many_are_frozen_as_consumers_are_left() -> None:
    workers = [silent(300, "old"), silent(15, "new"), make.worker("alive")]
    topic = make.topic(consumers=2)
    facts = with_workers(*workers, topic=topic)
    assert [finding.subject for finding in findings(worker_frozen, facts)] == ["new"]


def test_a_worker_whose_messages_are_acknowledged_is_only_cut_off_from_us() -> None:
    finding = only(worker_frozen, with_workers(silent(25)))
    assert finding.severity == "suspect"
    assert finding.against["acknowledged in 10 s"] == 10


def test_a_worker_that_only_others_speak_of_is_frozen_if_it_stays_silent() -> None:
    """A process that has just connected hears of it from others."""
    workers = [make.worker(), make.worker("w2", silence=5.0, uncertain=True)]
    cold = make.cold(with_workers(*workers, topic=make.topic(consumers=2)))
    assert len(unknown(worker_frozen, cold)) == 1
    workers[1] = silent(12, "w2", uncertain=True)
    later = with_workers(*workers, topic=make.topic(consumers=2))
    assert only(worker_frozen, later).subject == "w2"


@pytest.mark.parametrize(
    ("workers", "topic"),
    [
        ([make.worker()], make.topic()),
        ([silent(12)], make.topic(consumers=0)),
        ([silent(12), make.worker("w2")], make.topic(consumers=1)),
        ([silent(3)], make.topic()),
        ([silent(700)], make.topic()),
        ([make.worker("w", state="stopped", silence=20)], make.topic()),
        (
            [silent(12), make.worker("w2")],
            make.topic(consumers=2, consumer_series=make.samples(3, 3, 3, 3, 2, 2)),
        ),
        ([silent(12)], make.topic(consumer_series=make.samples(1, 1, 0, 0, 1))),
    ],
    ids=[
        "healthy",
        "killed",
        "killed beside another",
        "spoke 3 s ago",
        "long ago",
        "said goodbye",
        "killed beside a foreign consumer",
        "killed before another came",
    ],
)
def test_no_worker_is_frozen(workers: list[Worker], topic: TopicFacts) -> None:
    assert says_nothing(worker_frozen, with_workers(*workers, topic=topic))


@pytest.mark.parametrize("silence", [56.0, 318.0])
def test_a_worker_that_was_stopped_is_not_frozen_when_another_takes_its_place(
    silence: float,
) -> None:
    """Issue 13, healthy days: a peer says no goodbye when it is told to stop. Minutes later a new
    worker consumed before it spoke, as the machine was busy: the stopped one seemed to be back."""
    fell = round(silence / 5)
    counts = (*(2 for _ in range(5)), 2, *(1 for _ in range(fell - 3)), 2, 2, 2)
    topic = make.topic(consumers=2, consumer_series=make.samples(*counts))
    assert says_nothing(
        worker_frozen, with_workers(silent(silence), make.worker("w2"), topic=topic)
    )


def test_a_worker_is_frozen_though_others_have_said_goodbye_since() -> None:
    topic = make.topic(consumers=2, consumer_series=make.samples(3, 3, 3, 3, 2, 2, 2))
    gone = make.worker("w3", state="stopped", stopped_at=make.moment(4))
    facts = with_workers(silent(25, "w1"), make.worker("w2"), gone, topic=topic)
    assert [finding.subject for finding in findings(worker_frozen, facts)] == ["w1"]
    without = with_workers(silent(25, "w1"), make.worker("w2"), topic=topic)
    assert says_nothing(worker_frozen, without)


def test_a_frozen_worker_cannot_be_named_by_who_has_just_connected() -> None:
    facts = make.cold(with_workers(topic=make.topic(consumers=1)))
    assert unknown(worker_frozen, facts) == [
        "which worker a consumer belongs to: events are received for 0 s only"
    ]
    assert says_nothing(worker_frozen, make.cold(make.facts()))
    assert unknown(worker_frozen, make.deaf(make.facts())) == [
        "which workers are silent: the exchange of events cannot be bound"
    ]


# --- the workers of a topic ---------------------------------------------------------------


def unconsumed(queued: int = 12, **fields: Any) -> TopicFacts:
    """Return a topic with messages and no consumer, for 15 s."""
    series = make.samples(1, 1, 0, 0, 0)
    usual: dict[str, Any] = {"consumers": 0, "consumer_series": series}
    return make.topic(queued=queued, **(usual | fields))


def test_a_topic_whose_last_worker_fell_silent_is_found_after_4_s() -> None:
    lost = Orphan(task=make.running("t1", age=9.0), silent_since=make.NOW - 5)
    facts = with_workers(silent(5), topic=unconsumed(), orphans=(lost,))
    finding = only(workers_gone, facts)
    assert (finding.severity, finding.subject) == ("critical", "emails")
    assert finding.workers == ("worker-1",)
    assert finding.evidence["tasks that they were running"] == ["t1"]
    assert finding.since == make.NOW - 5
    assert not finding.needs_second_look


def test_workers_gone_are_found_without_management() -> None:
    facts = make.amqp_only(with_workers(silent(5), topic=unconsumed(consumer_series=None)))
    assert only(workers_gone, facts).needs_second_look


def test_many_workers_are_named_in_short() -> None:
    workers = [silent(40, f"w{number}") for number in range(5)]
    finding = only(workers_gone, with_workers(*workers, topic=unconsumed()))
    assert "w0, w1, w2 and 2 more silent for 40 s" in finding.finding


@pytest.mark.parametrize(
    ("workers", "topic"),
    [
        ([make.worker()], make.topic()),
        ([silent(3.5)], unconsumed()),
        ([silent(5)], unconsumed(queued=0)),
        ([silent(5)], make.topic(queued=5)),
        ([silent(5), make.worker("w2")], unconsumed()),
        ([make.worker("w", state="stopped", silence=20)], unconsumed()),
        ([], unconsumed()),
    ],
    ids=["healthy", "3.5 s", "empty", "consumed", "one speaks", "said goodbye", "no worker"],
)
def test_the_workers_are_not_gone(workers: list[Worker], topic: TopicFacts) -> None:
    assert says_nothing(workers_gone, with_workers(*workers, topic=topic))


def test_whether_workers_are_gone_cannot_be_told_without_events() -> None:
    assert unknown(workers_gone, make.deaf(with_workers(topic=unconsumed()))) == [
        "whether emails had workers: the exchange of events cannot be bound"
    ]
    assert says_nothing(workers_gone, make.deaf(make.facts()))


# --- single workers -----------------------------------------------------------------------


def test_a_worker_without_a_substitute_is_a_warning() -> None:
    lost = Orphan(task=make.running("t1"), silent_since=make.NOW - 40)
    facts = with_workers(silent(40), orphans=(lost,))
    finding = only(worker_gone, facts)
    assert (finding.severity, finding.subject) == ("warning", "worker-1")
    assert "nobody else consumes emails" in finding.finding
    assert finding.evidence["tasks that it was running"] == ["t1"]
    assert says_nothing(worker_late, facts)


def test_a_worker_is_late_before_it_is_gone() -> None:
    facts = with_workers(silent(12))
    assert only(worker_late, facts).severity == "warning"
    assert says_nothing(worker_gone, facts)


def test_a_worker_with_a_substitute_may_have_been_deployed_away() -> None:
    finding = only(worker_gone, with_workers(silent(40), make.worker("w2")))
    assert finding.severity == "suspect"
    assert finding.finding.endswith("without a goodbye; others consume its topics.")


@pytest.mark.parametrize("silence", [1.0, 9.0, 601.0])
def test_no_worker_is_absent(silence: float) -> None:
    facts = with_workers(silent(silence))
    assert says_nothing(worker_gone, facts)
    assert says_nothing(worker_late, facts)


def test_a_goodbye_is_no_absence() -> None:
    assert says_nothing(worker_gone, with_workers(make.worker(state="stopped", silence=40)))


def test_silence_cannot_be_told_without_events() -> None:
    for judge in (worker_gone, worker_late):
        assert unknown(judge, make.deaf(make.facts())) == [
            "which workers are silent: the exchange of events cannot be bound"
        ]


def test_hearsay_is_suspected_at_most() -> None:
    worker = replace(silent(40), uncertain=True)
    assert only(worker_gone, with_workers(worker)).severity == "suspect"


# --- before we listened ---------------------------------------------------------------------


@pytest.mark.parametrize("rule", [worker_gone, worker_late])
def test_who_fell_silent_before_we_listened_is_not_ruled_out(rule: Any) -> None:
    facts = with_workers(make.worker())
    just_begun = replace(facts, heard_since=facts.at - 5)
    assert "fell silent before" in " ".join(unknown(rule, just_begun))
    assert says_nothing(rule, replace(facts, heard_since=facts.at - 601))


def test_whether_a_topic_had_workers_before_we_listened_is_not_ruled_out() -> None:
    facts = make.facts(make.topic(queued=5, consumers=0), workers=())
    just_begun = replace(facts, heard_since=facts.at - 60)
    assert "had workers before" in " ".join(unknown(workers_gone, just_begun))
    assert says_nothing(workers_gone, replace(facts, heard_since=facts.at - 601))
