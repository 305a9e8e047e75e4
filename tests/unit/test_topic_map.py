"""Whose queues are whose, and where dead letters lie, of vhosts as they may be."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.choice import DialectChoice
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.dialects.fastpluggy import FASTPLUGGY, TASKWORKER
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Binding, Exchange, Routes

ALL = (FASTPLUGGY, DRAMATIQ, CELERY, PLAIN)


def to(queue: str, **more: Any) -> dict[str, Any]:
    """Return arguments that lead dead letters into *queue*."""
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, **more}


def vhost_of(
    queues: dict[str, dict[str, Any]], bindings: dict[str, tuple[str, str]] | None = None
) -> Vhost:
    """Return a vhost of *queues*, by their arguments, with *bindings*, by queue."""
    facts = {
        name: QueueFacts(queue=name, server=(4, 3), queue_type="classic", arguments=arguments)
        for name, arguments in queues.items()
    }
    bound = [
        Binding(source=source, destination=queue, key=key)
        for queue, (source, key) in (bindings or {}).items()
    ]
    exchanges = [Exchange(name=name, type="direct") for name in {each.source for each in bound}]
    return Vhost(queues=facts, routes=Routes(exchanges, bound))


def dialects(topic_map: TopicMap) -> dict[str, str]:
    return {topic: topic_map.dialect_of(topic).name for topic in topic_map.topics}


def test_each_dialect_claims_its_queues() -> None:
    vhost = vhost_of(
        {
            "emails": {},
            "emails.dead": {},
            "mail": {},
            "images": to("images.XQ"),
            "images.DQ": to("images.XQ"),
            "images.XQ": {},
            "orders": to("orders.dlq"),
            "orders.dlq": {},
            "w1@host.celery.pidbox": {},
            "celeryev.1": {},
            "tasktools.lock.x": {},
        },
        {"mail": ("mail", "mail")},
    )
    topic_map = TopicMap(ALL, vhost)
    assert dialects(topic_map) == {
        "emails": "fastpluggy",
        "images": "dramatiq",
        "mail": "celery",
        "orders": "plain",
    }
    for queue, name in (("images.XQ", "dramatiq"), ("orders.dlq", "plain"), ("emails.dead", "fa")):
        assert topic_map.dialect_of(queue).name.startswith(name)


def test_workers_say_whose_a_queue_is_that_nothing_else_shows() -> None:
    vhost = vhost_of({"mail": {}}, {"mail": ("shop", "tasks.mail")})
    assert dialects(TopicMap(ALL, vhost)) == {"mail": "plain"}
    announced = {"mail": "celery", "gone": "celery"}
    assert dialects(TopicMap(ALL, vhost, announced=announced)) == {"mail": "celery"}


def test_what_is_named_and_does_not_exist_is_of_the_first_dialect() -> None:
    topic_map = TopicMap(ALL, vhost_of({"orders": {}}), named=["new", "orders"])
    assert dialects(topic_map) == {"new": "fastpluggy", "orders": "plain"}
    assert topic_map.dead_queue("new") == "new.dead"
    assert topic_map.dead_queue("orders") is None


def test_a_delay_queue_hands_on_and_a_retry_queue_has_no_dead_letters_of_its_own() -> None:
    vhost = vhost_of(
        {
            "orders": to("orders.retry"),
            "orders.retry": to("orders", **{"x-message-ttl": 1000}),
            "later": to("orders", **{"x-message-ttl": 1000}),
        }
    )
    topic_map = TopicMap(ALL, vhost)
    assert set(topic_map.topics) == {"later", "orders", "orders.retry"}
    assert topic_map.homes_of("orders") == []


def test_a_way_with_several_ends_is_not_guessed() -> None:
    routes = Routes(
        [Exchange(name="dlx", type="fanout")],
        [Binding(source="dlx", destination=queue, key="") for queue in ("a", "b")],
    )
    arguments = {"x-dead-letter-exchange": "dlx"}
    facts = {
        name: QueueFacts(queue=name, server=(4, 3), queue_type="classic", arguments=queue_arguments)
        for name, queue_arguments in {"orders": arguments, "a": {}, "b": {}}.items()
    }
    assert TopicMap(ALL, Vhost(queues=facts, routes=routes)).dead_queue("orders") is None
    assert TopicMap(ALL, Vhost(queues=facts)).dead_queue("orders") is None  # bindings not seen


def test_a_given_name_comes_before_what_is_followed() -> None:
    vhost = vhost_of({"orders": to("graveyard"), "orders.dlq": {}, "graveyard": {}})
    topic_map = TopicMap((FASTPLUGGY, PLAIN), vhost, dead="{topic}.dlq")
    assert topic_map.dead_queue("orders") == "orders.dlq"
    assert topic_map.homes_of("orders.dlq") == ["orders"]


@pytest.mark.parametrize(
    ("present", "named", "layout", "chosen"),
    [
        (set(), (), None, (FASTPLUGGY, DRAMATIQ, PLAIN)),
        ({"fp.tasks"}, (), None, (FASTPLUGGY, DRAMATIQ)),
        ({"taskworker.tasks", "celeryev"}, (), None, (TASKWORKER, DRAMATIQ, CELERY)),
        ({"celery.pidbox"}, (), None, (FASTPLUGGY, DRAMATIQ, CELERY, PLAIN)),
        ({"fp.tasks"}, ("plain", "celery"), None, (FASTPLUGGY, CELERY, PLAIN)),
        ({"celeryev"}, (), "taskworker", (TASKWORKER, DRAMATIQ, CELERY)),
    ],
)
def test_the_dialects_are_those_whose_exchanges_are_there(
    present: set[str], named: tuple[str, ...], layout: str | None, chosen: tuple[Dialect, ...]
) -> None:
    choice = DialectChoice(named, layout)
    choice.decide(present)
    assert tuple(choice.spoken) == chosen


def test_workers_that_come_later_are_noticed_and_a_lost_exchange_is_not_forgotten() -> None:
    choice = DialectChoice()
    choice.decide({"fp.tasks"})
    choice.decide({"celeryev"})
    assert tuple(choice.spoken) == (FASTPLUGGY, DRAMATIQ, CELERY)


def test_a_queue_that_is_gone_is_one_of_the_workers_that_still_name_it() -> None:
    """Issue 11: it was one of fastpluggy, with dead letters in a queue that never was."""
    topic_map = TopicMap(ALL, vhost_of({}), named=["mail", "x"], announced={"mail": "celery"})
    assert dialects(topic_map) == {"mail": "celery", "x": "fastpluggy"}
    assert topic_map.dead_queue("mail") is None
