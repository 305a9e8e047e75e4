"""Messages that are lost: without dead-lettering, without a binding, expired or dropped."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Exchange, Routes
from tasktools.core.server_facts import ServerQueue
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.rules.losses import (
    dead_letters_unbound,
    no_dead_lettering,
    vanishing,
)
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import findings, only, says_nothing, unknown


def without_exchange(name: str = "emails", **fields: Any) -> QueueFacts:
    """Return the facts of a queue without dead-lettering."""
    return make.queue_facts(name, arguments={}, **fields)


# --- no exchange --------------------------------------------------------------------------


def rejecting(per_second: float = 1.0, **facts: Any) -> TopicFacts:
    """Return a topic without dead-lettering of which messages are rejected."""
    queue = make.queue(
        facts=without_exchange(**facts),
        acked=make.growing(1.0 - per_second),
    )
    return make.topic(queue=queue, dead_queue=None, dead_lettering=False, is_topic=False)


def test_a_queue_that_loses_what_is_rejected_is_critical() -> None:
    finding = only(no_dead_lettering, make.facts(rejecting()))
    assert (finding.severity, finding.subject_kind, finding.subject) == (
        "critical",
        "queue",
        "emails",
    )
    assert finding.evidence["rejected in 60 s"] == pytest.approx(55)
    assert (
        """set_policy -p VHOST dlx-emails '^emails$' '{"dead-letter-exchange": "fp.dlx", """
        in str(finding.remedy)
    )


def test_what_a_consumer_fetched_just_now_is_not_lost() -> None:
    """The newest sample counts deliveries that the lengths do not show yet."""
    burst = make.samples(*[0.0] * 12, 10.0)
    queue = make.queue(
        facts=without_exchange(), published=burst, delivered=burst, acked=make.level()
    )
    topic = make.topic(queue=queue, dead_queue=None, dead_lettering=False, dialect="plain")
    assert says_nothing(no_dead_lettering, make.facts(topic))


def test_a_queue_that_could_lose_what_is_rejected_is_suspected() -> None:
    finding = only(no_dead_lettering, make.facts(rejecting(0.0)))
    assert finding.severity == "suspect"
    assert "none was in the last minute" in finding.finding


def test_a_policy_is_as_good_as_an_argument() -> None:
    facts = without_exchange(policy={"dead-letter-exchange": "fp.dlx"})
    topic = make.topic(queue=make.queue(facts=facts))
    assert says_nothing(no_dead_lettering, make.facts(topic))
    assert says_nothing(no_dead_lettering, make.facts())
    assert says_nothing(no_dead_lettering, make.facts(rejecting(queue_type="stream")))


def test_dead_lettering_cannot_be_told_without_management_or_policies() -> None:
    assert unknown(no_dead_lettering, make.amqp_only(make.facts(rejecting()))) == [
        f"the dead-lettering of emails: {make.NO_TAG}"
    ]
    unclear = make.facts(rejecting(policy=None), missing={"management": "policies are not told"})
    assert unknown(no_dead_lettering, unclear) == [
        "the dead-lettering of emails: policies are not told"
    ]
    topics = [make.topic(name, exists=True) for name in "abcde"]
    (why,) = unknown(no_dead_lettering, make.amqp_only(make.facts(*topics)))
    assert why.startswith("the dead-lettering of a, b, c and 2 more:")


# --- no binding ---------------------------------------------------------------------------


def unbound(topic: TopicFacts | None = None, **fields: Any) -> Facts:
    """Return facts in which the dead letters of `emails` have no queue."""
    each = topic or make.topic(dead_queue=None)
    routes = make.routes("emails", unbound=["emails"])
    return make.facts(each, server=make.server([each], **({"routes": routes} | fields)))


def test_dead_letters_without_a_binding_are_a_warning() -> None:
    finding = only(dead_letters_unbound, unbound())
    assert (finding.severity, finding.subject) == ("warning", "emails")
    assert "no queue for 'fp.dlx' with the key 'dlx.emails'" in finding.finding
    assert finding.against == {"dead-letter queue": "does not exist"}


def test_dead_letters_that_are_lost_are_critical() -> None:
    queue = make.queue(acked=make.growing(0.5))
    finding = only(dead_letters_unbound, unbound(make.topic(queue=queue)))
    assert finding.severity == "critical"
    assert finding.evidence["lost in 60 s"] == pytest.approx(27.5)
    assert finding.against == {"dead-letter queue": "emails.dead"}


def test_an_exchange_that_is_not_there_is_named() -> None:
    facts = make.queue_facts(arguments={"x-dead-letter-exchange": "gone"})
    topic = make.topic(queue=make.queue(facts=facts))
    finding = only(dead_letters_unbound, unbound(topic))
    assert "goes to 'gone', which is not there" in finding.finding
    assert finding.evidence["routing key"] == "the message's own"


def test_dead_letters_that_arrive_are_fine() -> None:
    assert says_nothing(dead_letters_unbound, make.facts())
    assert says_nothing(dead_letters_unbound, make.facts(rejecting()))
    default = make.queue_facts(
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "emails.dead"}
    )
    assert says_nothing(dead_letters_unbound, unbound(make.topic(queue=make.queue(facts=default))))


def test_bindings_cannot_be_told_without_management() -> None:
    assert unknown(dead_letters_unbound, make.amqp_only(unbound())) == [
        f"where the dead letters of emails go: {make.NO_TAG}"
    ]
    assert unknown(dead_letters_unbound, make.without_part(unbound(), "routes")) == [
        "where the dead letters of emails go: needs the tag monitoring"
    ]
    by_policy = Routes([Exchange(name="fp.dlx", type="direct", has_policy=True)], [])
    (why,) = unknown(dead_letters_unbound, unbound(routes=by_policy))
    assert "by headers, by a plugin, or by a policy" in why


# --- expired or dropped -------------------------------------------------------------------


def expiring(**fields: Any) -> ServerQueue:
    """Return a queue from which messages expire, and none is delivered."""
    still = make.level()
    return make.queue(**({"acked": still, "delivered": still} | fields))


def unworked(queue: ServerQueue, **fields: Any) -> TopicFacts:
    """Return the topic of *queue*, of which no task ends."""
    return make.topic(queue=queue, **({"ended": make.level()} | fields))


def test_messages_that_expire_without_dead_lettering_are_critical() -> None:
    facts = without_exchange(policy={"message-ttl": 2000})
    topic = unworked(expiring(facts=facts), dead_queue=None, dead_lettering=False)
    finding = only(vanishing, make.facts(topic))
    assert (finding.severity, finding.subject) == ("critical", "emails")
    assert finding.evidence["vanished"] == pytest.approx(45)
    assert finding.evidence["TTL"] == "2 s"
    assert "expired or dropped; they are lost" in finding.finding


def test_messages_that_expire_into_dead_letters_are_a_warning() -> None:
    topic = unworked(expiring(), dead_ready=make.growing(0.9))
    finding = only(vanishing, make.facts(topic))
    assert finding.severity == "warning"
    assert finding.evidence["dead letters"] == pytest.approx(54)
    assert finding.call == "cluster.dead_letters('emails')"
    still = only(vanishing, make.facts(unworked(expiring())))
    assert still.evidence["dead letters"] == 0
    assert "they are dead-lettered" in still.finding


def test_a_purge_is_suspected_at_most() -> None:
    purge = expiring(
        ready_series=make.samples(0, 5, 10, 15, 20, 25, 30, 5, 10, 15, 20),
        published=make.samples(0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50),
    )
    finding = only(vanishing, make.facts(unworked(purge)))
    assert finding.severity == "suspect"
    assert finding.against["a purge"] == "it was at once"
    assert finding.finding.endswith("all at once, as a purge does it.")


@pytest.mark.parametrize(
    "queue",
    [
        make.queue(),
        make.queue(acked=make.growing(0.5)),
        make.queue(acked=make.growing(0.9), delivered=make.growing(0.9)),
        make.queue(published=make.growing(4.0), acked=make.growing(3.5)),
        expiring(published=make.growing(1.0, seconds=25.0)),
        make.queue(
            published=make.samples(*(300 * (n >= 10) for n in range(13))),
            acked=make.samples(*(300 * (n >= 11) for n in range(13))),
            delivered=make.samples(*(300 * (n >= 11) for n in range(13))),
        ),
    ],
    ids=["healthy", "rejected", "few", "a small share", "a new queue", "a burst acked later"],
)
def test_nothing_vanishes(queue: ServerQueue) -> None:
    assert says_nothing(vanishing, make.facts(unworked(queue)))


@pytest.mark.parametrize(
    "fields",
    [{"ended": make.growing(1.0)}, {"queued": 60, "ready": make.level(0)}],
    ids=["their tasks ended", "they wait"],
)
def test_what_lagging_statistics_do_not_count_has_not_vanished(fields: dict[str, Any]) -> None:
    """Injected on a real node: acknowledgements and lengths stood still, and publishes did not."""
    assert says_nothing(vanishing, make.facts(unworked(expiring(), **fields)))


def test_what_vanishes_cannot_be_told_without_counters() -> None:
    facts = make.facts(make.topic(queue=expiring()))
    assert unknown(vanishing, make.amqp_only(facts)) == [
        f"how many messages enter and leave emails: {make.NO_TAG}"
    ]
    assert unknown(vanishing, make.without_part(facts, "samples")) == [
        "how many messages enter and leave emails: needs the tag monitoring"
    ]
    absent = replace(facts.topics["emails"], exists=False, queue=None)
    assert findings(vanishing, make.facts(absent)) == []
