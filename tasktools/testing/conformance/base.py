"""The base of the suite: types of its fixtures, and the mark for a missing capability."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.layout import LAYOUTS
from tasktools.core.models import Delivery, Properties
from tasktools.testing.eventually import eventually

T = TypeVar("T", bound=Callable[..., Any])

TASK = "demo_tasks:send_email"


class Backdoor(Protocol):
    """Reaches the cluster without the broker under test, as another program would."""

    def put(self, queue: str, body: bytes, properties: Properties | None = None) -> None:
        """Put raw bytes into a queue that exists; it is there when this returns."""

    def say(self, body: bytes) -> None:
        """Send raw bytes as a worker event."""

    def declare_plain_queue(self, name: str) -> None:
        """Create a queue without dead-letter arguments."""

    def declare_full_queue(self, name: str, max_length: int) -> None:
        """Create a queue that refuses more than *max_length* ready messages (reject-publish)."""

    def declare_loop(self, first: str, second: str) -> None:
        """Create two queues of which each dead-letters into the other."""

    def declare_quorum_queue(self, name: str) -> None:
        """Create a quorum queue without other arguments; only called if the backend has them."""

    def depth(self, queue: str) -> int:
        """Return how many messages of *queue* are ready."""

    def bodies(self, queue: str) -> list[bytes]:
        """Take all ready messages out of *queue* and return their bodies, in order."""


def needs(ability: str) -> Callable[[T], T]:
    """Mark a test that is skipped on a backend without *ability*, by that name."""

    def mark(test: T) -> T:
        test.needs = ability  # type: ignore[attr-defined]
        return test

    return mark


def abilities(broker: Broker) -> dict[str, bool]:
    """Return every capability, and every layout, with whether *broker* has it."""
    all_of = broker.capabilities
    has_ability = {field.name: bool(getattr(all_of, field.name)) for field in fields(all_of)}
    return has_ability | {f"layout {name}": name == broker.layout.name for name in LAYOUTS}


class Conformance:
    """Base of the parts of the suite."""

    lacks: ClassVar[frozenset[str]] = frozenset()
    """The abilities that the backend does not have; the tests that need them are skipped."""

    @pytest.fixture(autouse=True)
    def _skip_what_the_backend_lacks(self, request: pytest.FixtureRequest, broker: Broker) -> None:
        ability = getattr(request.function, "needs", None)
        if ability is not None and not abilities(broker)[ability]:
            pytest.skip(ability)


def publish(broker: Broker, topic: str = "emails", count: int = 1, **kwargs: Any) -> list[str]:
    """Publish tasks whose `number` counts from 0; returns their message ids."""
    return [
        broker.publish(topic, {"task_name": TASK, "kwargs": {"number": n, **kwargs}})
        for n in range(count)
    ]


def fill(broker: Broker, topic: str = "emails", count: int = 1) -> None:
    """Publish tasks as `publish` does, all at once."""
    broker.ensure_topic(topic)
    messages = [
        broker.composer.compose(topic, {"task_name": TASK, "kwargs": {"number": n}})
        for n in range(count)
    ]
    assert set(broker.publish_many(messages)) == {"confirmed"}


def take(broker: Broker, topic: str = "emails") -> Delivery:
    """Claim the next message, waiting for it if it is on its way."""
    return eventually(lambda: broker.claim(topic, "worker-1"))


def number_of(delivery: Delivery) -> int:
    """Return the number with which `publish` published it."""
    assert delivery.task.kwargs is not None
    number: int = delivery.task.kwargs["number"]
    return number


def holds(backdoor: Backdoor, queue: str, count: int) -> bool:
    """Wait until *count* messages of *queue* are ready."""
    return eventually(lambda: backdoor.depth(queue) == count)


def never(predicate: Callable[[], object], seconds: float = 0.4) -> None:
    """Watch for *seconds* that *predicate* does not become true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = predicate()
        assert not answer
        time.sleep(0.02)
