"""Faults of Celery's workers, and what looks like one: by what they tell of what they hold."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.events import REQUEUED
from tasktools.core.models import PrefetchedTask, Worker
from tasktools.core.server_facts import ServerConsumer
from tasktools.diagnosis.facts import Facts, TaskBegin, TaskEnd, TopicFacts
from tasktools.diagnosis.ranking import judge
from tasktools.diagnosis.rules import RULES
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import findings, only, says_nothing, unknown

OF_CHECK = {rule.check: rule.judge for rule in RULES}


def mail(**fields: Any) -> TopicFacts:
    return make.topic("mail", **({"dialect": "celery"} | fields))


def worker(name: str = "w0@shop", **fields: Any) -> Worker:
    known: dict[str, Any] = {"topics": ("mail",), "dialect": "celery", "sends_task_events": True}
    return make.worker(name, **(known | {"capacity": 2} | fields))


def prefetched(
    count: int, *, due: float | None = None, topic: str = "mail"
) -> dict[str, tuple[PrefetchedTask, ...]]:
    """Return tasks that the worker has fetched, with a time that comes in *due* seconds."""
    eta = None if due is None else make.moment(-due)
    tasks = (
        PrefetchedTask(
            task_id=f"p{n}", worker_id="w0@shop", topic=topic, eta=eta, task_name="shop.send"
        )
        for n in range(count)
    )
    return {"prefetched": tuple(tasks)}


# --- nobody consumes ----------------------------------------------------------------------


def test_a_worker_of_the_same_kind_is_told_to_consume_what_nobody_does() -> None:
    check, bills = OF_CHECK["no_consumer"], mail(queued=9, consumers=0)
    others = worker(topics=("reports",))
    assert only(check, make.facts(bills, workers=[others])).call == (
        "cluster.join_topic('w0@shop', 'mail')"
    )
    for stranger in (make.worker(is_tasktools=True), worker(topics=("x",), draining=True)):
        finding = only(check, make.facts(bills, workers=[stranger]))
        assert (finding.call, finding.remedy) == (
            "cluster.workers()",
            "Start a worker of this topic.",
        )


# --- a message that comes back ------------------------------------------------------------


def tries(count: int, error: str | None) -> dict[str, Any]:
    """Return begins of one task, each of which ended so a second later."""
    begins = tuple(
        TaskBegin(at=make.NOW - 3 * n - 1, task_id="bad", topic="mail") for n in range(count)
    )
    ends = tuple(
        TaskEnd(at=each.at + 1, task_id="bad", topic="mail", succeeded=False, error=error)
        for each in begins
    )
    return {"begins": begins, "ends": ends}


def test_a_task_whose_message_is_given_back_again_and_again_is_revoked() -> None:
    check = OF_CHECK["poison_task"]
    facts = make.facts(mail(), workers=[worker()], **tries(5, REQUEUED))
    finding = only(check, facts)
    assert finding.finding == (
        "The task bad of mail was begun 5 times, and never ended: its message was given back to "
        "the queue 5 times."
    )
    assert (finding.severity, finding.call) == ("warning", "cluster.revoke('bad')")
    assert says_nothing(check, make.facts(mail(), workers=[worker()], **tries(5, "smtp down")))


# --- what is held -------------------------------------------------------------------------


def hoarding(held: int, *, topic: TopicFacts, **state: Any) -> Facts:
    """Return a channel without a limit that holds so many messages, beside an idle one."""
    consumers = tuple(
        ServerConsumer(queue=topic.topic, connection=name, channel=name, prefetch=0, held=count)
        for name, count in (("c0", held), ("c1", 0))
    )
    return make.facts(
        topic,
        workers=[worker(), worker("w1@shop")],
        server=make.server([topic], consumers=consumers),
        state=state,
    )


def test_a_channel_hoards_the_messages_of_one_queue_and_not_of_its_others() -> None:
    check = OF_CHECK["prefetch_hoarding"]
    finding = only(check, hoarding(140, topic=mail(unacked=140, consumers=2)))
    assert "(worker_prefetch_multiplier)" in str(finding.remedy)
    assert says_nothing(check, hoarding(140, topic=mail(unacked=0, consumers=2)))


def test_tasks_of_later_are_not_hoarded() -> None:
    check, topic = OF_CHECK["prefetch_hoarding"], mail(unacked=140, consumers=2)
    assert says_nothing(check, hoarding(140, topic=topic, **prefetched(140, due=600)))
    assert findings(check, hoarding(140, topic=topic, **prefetched(140, due=-60)))
    (why,) = unknown(check, make.deaf(hoarding(140, topic=topic)))
    assert why.startswith("whether consumers of mail hold tasks of later")


def busy(**fields: Any) -> Facts:
    """Return a worker whose places are taken for 30 s, and one with both places free."""
    tasks = [make.running(f"t{n}", worker_id="w0@shop", topic="mail", age=30.0) for n in range(2)]
    workers = [worker(running=2), worker("w1@shop", running=0, pid=2)]
    return make.facts(
        mail(unacked=5, consumers=2), workers=workers, running=tasks, state=prefetched(3, **fields)
    )


def test_what_a_busy_worker_has_fetched_waits_beside_an_idle_one() -> None:
    check = OF_CHECK["prefetch_too_high"]
    finding = only(check, make.without_part(busy(), "consumers", "connections"))
    assert finding.finding == (
        "3 messages of 'mail' wait at 'w0@shop', where no place became free for 30 s, while 2 "
        "places on its other workers are free."
    )
    assert "worker_prefetch_multiplier" in str(finding.remedy)
    assert "gives the messages back" not in str(finding.remedy)  # `cancel_consumer` does not
    assert finding.call == "cluster.active_tasks('mail')"
    assert says_nothing(check, busy(due=600))
    assert findings(check, busy(due=-60))


def limited(*, acked: float = 1.0, running: int = 0, **fields: Any) -> Facts:
    """Return a queue in which messages wait, while a worker with free places holds 16."""
    ready, held = make.level(80), make.level(16)
    queue = make.queue("mail", ready_series=ready, unacked_series=held, acked=make.growing(acked))
    topic = mail(**({"queued": 80, "unacked": 16, "ready": ready, "queue": queue} | fields))
    tasks = [make.running(f"t{n}", worker_id="w0@shop", topic="mail") for n in range(running)]
    each = worker(running=running, capacity=4)
    return make.facts(topic, workers=[each], running=tasks, state=prefetched(8))


def test_what_a_rate_limit_holds_back_is_seen_by_how_long_it_is_held() -> None:
    finding = only(OF_CHECK["held_back"], limited())
    assert finding.finding.startswith(
        "Workers of 'mail' hold 16 messages that they do not begin, most of them 'shop.send', each "
        "for 16 s, though 4 places are free; 80 messages wait behind them"
    )
    assert finding.needs_second_look


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (limited(acked=50.0), "they are quick"),
        (limited(queued=0), "nothing waits"),
        (limited(running=3), "most places are taken"),
        (limited(dialect="fastpluggy"), "workers take no rate limit"),
        (limited(queue=make.queue("mail", unacked_series=make.level(16))), "nothing waited lately"),
    ],
)
def test_what_no_rate_limit_holds_back(facts: Facts, why: str) -> None:
    assert says_nothing(OF_CHECK["held_back"], facts), why


def test_without_samples_and_events_what_is_held_back_is_not_known() -> None:
    check = OF_CHECK["held_back"]
    (why,) = unknown(check, make.without_part(limited(), "samples"))
    assert why.startswith("for how long mail is held")
    assert unknown(check, make.deaf(limited()))


# --- what Celery does not tell ------------------------------------------------------------


@pytest.mark.parametrize("check", ["beat_missing", "beat_double"])
def test_a_beat_of_celery_is_not_heard_whether_or_not_it_runs(check: str) -> None:
    (why,) = unknown(OF_CHECK[check], make.facts(mail(), workers=[worker()]))
    assert why == "the process that starts periodic tasks of Celery sends no heartbeats"
    assert why not in unknown(OF_CHECK[check], make.facts(mail(), make.topic()))


def test_a_cause_explains_the_other_queues_of_its_workers() -> None:
    """All places are taken by tasks of `mail`, and nothing of `reports` is acknowledged either."""
    idle: dict[str, Any] = dict.fromkeys(["acked", "delivered"], make.level())
    held = {"queued": 9, "unacked": 4, "began": make.level(), "ended": make.level()}

    def still(name: str) -> TopicFacts:
        queue = make.queue(name, ready=9, unacked=4, unacked_series=make.level(4), **idle)
        return make.topic(name, dialect="celery", queue=queue, **held)

    facts = make.facts(
        still("mail"),
        still("reports"),
        workers=[worker(topics=("mail", "reports"), running=2)],
        running=[make.running(f"t{n}", worker_id="w0@shop", topic="mail", age=60) for n in "ab"],
        ends=make.ends(20, topic="mail", worker_id="w0@shop", until=make.NOW - 60),
    )
    rows = {f"{row.check}:{row.subject}": row for row in judge(facts, facts).rows}
    assert rows["workers_hung:mail"].severity == "critical"
    assert rows["nothing_acknowledged:reports"].because == "workers_hung:mail"


def test_the_setting_that_would_tell_is_named() -> None:
    mute = worker(sends_task_events=False)
    facts = make.facts(mail(unacked=1, consumers=2), workers=[mute])
    for check in ("failing", "retry_storm", "poison_task", "uneven"):
        assert any("worker_send_task_events" in why for why in unknown(OF_CHECK[check], facts))
