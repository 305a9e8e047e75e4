"""Rules on topics of each dialect: nothing false on healthy ones, and advice that works there."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import PrefetchedTask, Worker
from tasktools.core.routes import Routes
from tasktools.core.server_facts import ServerQueue
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.ranking import judge
from tasktools.diagnosis.rules import RULES
from tasktools.diagnosis.topic_states import topic_states
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import findings, only, says_nothing, unknown

OF_CHECK = {rule.check: rule.judge for rule in RULES}
NO_EVENTS = {
    "dramatiq": "workers of Dramatiq send no events",
    "plain": "programs that are not known send no events",
}


def queue(name: str, *, arguments: Any = None, **fields: Any) -> ServerQueue:
    facts = make.queue_facts(name, arguments=arguments or {})
    return make.queue(name, facts=facts, **fields)


def topic(name: str, dialect: str, **fields: Any) -> TopicFacts:
    """Return a healthy topic whose queue dead-letters nothing; of its tasks no event tells."""
    quiet = dict.fromkeys(["began", "ended"], make.level())
    healthy = {"queue": queue(name), "dead_queue": None, "dead_lettering": False, **quiet}
    return make.topic(name, dialect=dialect, **(healthy | fields))


def celery_worker(**fields: Any) -> Worker:
    values: dict[str, Any] = {"topics": ("mail",), "dialect": "celery", "sends_task_events": True}
    return make.worker("w0@shop", **(values | fields))


def of_celery(mail: TopicFacts, worker: Worker | None = None, **fields: Any) -> Facts:
    return make.facts(mail, workers=[worker or celery_worker()], **fields)


def test_nothing_is_found_on_a_vhost_of_all_dialects() -> None:
    orders = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders.XQ"}
    topics = [
        make.topic(),
        topic("mail", "celery"),
        topic("orders", "dramatiq", queue=queue("orders", arguments=orders), dead_lettering=True),
        topic("invoices", "plain"),
    ]
    server = make.server([*topics, make.topic("orders.XQ")])
    facts = make.facts(*topics, workers=[make.worker(), celery_worker()], server=server)
    rows = judge(facts, facts).rows
    assert [row for row in rows if row.verdict in ("found", "suspected")] == []
    (failing,) = [row for row in rows if row.check == "failing"]
    assert failing.verdict == "cannot tell"
    assert all(why in failing.finding for why in NO_EVENTS.values())


# --- what is lost -------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["celery", "plain"])
def test_what_rejects_as_a_rule_nothing_may_do_without_dead_lettering(dialect: str) -> None:
    check = OF_CHECK["no_dead_lettering"]
    assert says_nothing(check, make.facts(topic("mail", dialect)))
    rejecting = queue("mail", acked=make.level())
    finding = only(check, make.facts(topic("mail", dialect, queue=rejecting)))
    assert finding.severity == "critical"
    policy = '{"dead-letter-exchange": "", "dead-letter-routing-key": "mail.dlq"}'
    assert policy in str(finding.remedy)


def test_a_dead_letter_queue_that_is_not_there_is_named() -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "mail.failed"}
    mail = topic("mail", "celery", queue=queue("mail", arguments=arguments))
    finding = only(OF_CHECK["dead_letters_unbound"], make.facts(mail))
    assert "goes to the queue 'mail.failed', which is not there" in finding.finding
    assert finding.remedy == "Declare the queue mail.failed."
    by_exchange = queue("mail", arguments={"x-dead-letter-exchange": "dead"})
    facts = make.facts(topic("mail", "celery", queue=by_exchange))
    facts = replace(facts, server=facts.server and replace(facts.server, routes=Routes([], [])))
    assert "Declare the queue mail.dlq, " in str(
        only(OF_CHECK["dead_letters_unbound"], facts).remedy
    )


def test_events_of_celery_that_nobody_hears_are_no_lost_tasks() -> None:
    check, lost = OF_CHECK["unroutable"], (make.connection(unroutable=make.growing(1.0)),)
    mail = topic("mail", "celery")
    facts = of_celery(mail, server=make.server([mail], connections=lost))
    (why,) = unknown(check, facts)
    assert why.startswith("which of 60 messages that no queue took in a minute were tasks: ")
    plain = topic("mail", "plain")
    finding = only(check, make.facts(plain, server=make.server([plain], connections=lost)))
    assert finding.call == "cluster.topics()"  # a tap would keep nothing


# --- what is held -------------------------------------------------------------------------


def held(count: int) -> TopicFacts:
    """Return a topic of Celery of which *count* messages are held, and none is acknowledged."""
    idle = dict.fromkeys(["published", "acked", "delivered"], make.level())
    unacked = make.level(count)
    return topic(
        "mail", "celery", unacked=count, queue=queue("mail", unacked_series=unacked, **idle)
    )


def scheduled(count: int, name: str | None = "mail") -> dict[str, Any]:
    tasks = (
        PrefetchedTask(task_id=f"t-{n}", worker_id="w0@shop", topic=name, eta=make.moment(-3600))
        for n in range(count)
    )
    return {"prefetched": tuple(tasks)}


def test_tasks_that_wait_for_their_time_are_no_standstill() -> None:
    check = OF_CHECK["nothing_acknowledged"]
    assert says_nothing(check, of_celery(held(3), state=scheduled(3)))
    assert says_nothing(check, of_celery(held(3), state=scheduled(3, None)))
    assert only(check, of_celery(held(3), state=scheduled(2))).evidence["unacked"] == 3
    (why,) = unknown(check, of_celery(held(3), is_recorded=True))
    assert why == "whether consumers of mail hold tasks of later: a recording does not hold it"
    assert unknown(check, make.deaf(of_celery(held(3))))
    assert findings(check, make.facts(replace(held(3), dialect="plain")))


# --- what events do not tell --------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["dramatiq", "plain"])
def test_rules_that_need_events_say_that_none_come(dialect: str) -> None:
    busy = queue("mail", published=make.growing(5.0), acked=make.growing(5.0), unacked=2)
    facts = make.facts(topic("mail", dialect, unacked=2, queue=busy))
    checks = ["republish_loop", "failing", "retry_storm", "service_time_risen", "worker_frozen"]
    for check in [*checks, "task_stuck", "workers_hung"]:
        assert any(NO_EVENTS[dialect] in why for why in unknown(OF_CHECK[check], facts)), check
        assert findings(OF_CHECK[check], facts) == []


def test_a_worker_that_tells_nothing_of_its_tasks_is_named() -> None:
    busy = queue("mail", published=make.growing(5.0), acked=make.growing(5.0))
    mute = celery_worker(sends_task_events=False)
    facts = of_celery(topic("mail", "celery", queue=busy), mute)
    for check in ["republish_loop", "failing", "retry_storm", "poison_task"]:
        (why,) = unknown(OF_CHECK[check], facts)
        assert "of mail: w0@shop sends no events of tasks (start them with -E, set " in why
    assert says_nothing(OF_CHECK["failing"], of_celery(topic("mail", "celery", queue=busy)))


def test_a_queue_whose_tasks_no_event_tells_moves_by_its_acknowledgements() -> None:
    waiting = make.level(5)
    for acked, state in [(make.growing(1.0), "steady"), (make.level(), "stopped")]:
        each = queue("mail", ready_series=waiting, acked=acked)
        moving = topic("mail", "plain", queued=5, ready=waiting, queue=each)
        assert [s.state for s in topic_states(make.facts(moving))] == [state]


def test_dead_letters_of_workers_that_send_no_events_have_no_known_error() -> None:
    growing = make.growing(1.0)
    dead = make.dead_queue("mail", ready=60, ready_series=growing)
    mail = topic("mail", "dramatiq", dead_letters=60, dead_queue=dead, dead_ready=growing)
    finding = only(OF_CHECK["dead_growing"], make.facts(mail))
    assert finding.finding.endswith(f"its failures are not known, as {NO_EVENTS['dramatiq']}.")
    assert finding.evidence["failed"] is None


# --- workers that die ---------------------------------------------------------------------


def test_tasks_that_a_killed_worker_of_celery_ran_are_lost() -> None:
    gone = celery_worker(silence=40.0)
    mail = topic("mail", "celery", queued=3, consumers=0, queue=queue("mail", consumers=0))
    finding = only(OF_CHECK["workers_gone"], of_celery(mail, gone))
    assert "a task that it was running is lost, unless it has acks_late" in str(finding.remedy)
    absent = only(OF_CHECK["worker_gone"], of_celery(mail, gone, heard_since=make.NOW - 900))
    assert "says goodbye when it is stopped" in absent.against["a deploy or a scale-down"]
    own = only(
        OF_CHECK["workers_gone"],
        make.facts(make.topic(queued=3, consumers=0), workers=[make.worker(silence=40.0)]),
    )
    assert "the messages that it held are delivered again" in str(own.remedy)


def test_nobody_is_missed_where_no_worker_is_heard() -> None:
    orders = topic("orders", "dramatiq", queued=3, consumers=0, queue=queue("orders", consumers=0))
    facts = make.facts(orders, workers=[])
    finding = only(OF_CHECK["no_consumer"], facts)
    assert finding.against["workers that report consuming it"] == "not known"
    assert NO_EVENTS["dramatiq"] in unknown(OF_CHECK["workers_gone"], facts)[0]
