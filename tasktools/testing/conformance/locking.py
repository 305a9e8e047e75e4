"""Locks: exclusive, and free when their holder is gone."""

from __future__ import annotations

import pytest

from tasktools.brokers.base import Broker, HeldLock
from tasktools.core.events import Event, LockEvent
from tasktools.testing.conformance.base import Conformance
from tasktools.testing.eventually import eventually


def lock(broker: Broker, name: str = "nightly") -> HeldLock:
    """Take a lock that is free, or about to be."""
    return eventually(lambda: broker.acquire_lock(name))


class Locking(Conformance):
    """Behaviours of `acquire_lock` and `force_release_lock`."""

    def test_a_lock_is_held_and_says_what_it_locks(self, broker: Broker) -> None:
        held = lock(broker)
        assert (held.name, held.is_held, bool(held)) == ("nightly", True, True)

    def test_nobody_else_gets_a_lock_that_is_held(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        lock(broker)
        assert second_broker.acquire_lock("nightly") is None

    def test_its_holder_does_not_get_it_twice(self, broker: Broker) -> None:
        held = lock(broker)
        assert broker.acquire_lock("nightly") is None
        assert held.is_held

    def test_locks_of_other_names_are_free(self, broker: Broker, second_broker: Broker) -> None:
        lock(broker)
        assert lock(second_broker, "hourly").is_held

    def test_a_released_lock_is_free(self, broker: Broker, second_broker: Broker) -> None:
        held = lock(broker)
        held.release()
        held.release()
        assert not held.is_held
        assert lock(second_broker).is_held

    def test_a_lock_is_released_at_the_end_of_its_block(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        with lock(broker) as held:
            assert held.is_held
        assert not held.is_held
        assert lock(second_broker).is_held

    def test_locks_of_a_client_that_closes_are_free(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        held = lock(second_broker)
        second_broker.close()
        assert not held.is_held
        next_held = lock(broker)
        held.release()  # of no effect
        assert next_held.is_held
        assert broker.acquire_lock("nightly") is None

    def test_every_holder_has_a_greater_fence_than_all_before(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        fences = []
        for client, name in ((broker, "a"), (second_broker, "b"), (broker, "b"), (broker, "a")):
            with lock(client, name) as held:
                fences.append(held.fence)
        assert fences == sorted(set(fences))

    @pytest.mark.parametrize("by_holder", [False, True])
    def test_a_lock_can_be_taken_away(
        self,
        broker: Broker,
        second_broker: Broker,
        by_holder: bool,  # noqa: FBT001 - a parameter
    ) -> None:
        held = lock(broker)
        assert (broker if by_holder else second_broker).force_release_lock("nightly") is True
        eventually(lambda: not held.is_held)
        taken = lock(second_broker)
        held.release()  # of no effect
        assert taken.is_held
        assert broker.acquire_lock("nightly") is None

    def test_a_lock_that_nobody_has_cannot_be_taken_away(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        assert broker.force_release_lock("nightly") is False
        lock(broker).release()
        eventually(lambda: second_broker.force_release_lock("nightly") is False)
        assert lock(broker).is_held

    def test_a_lock_is_announced_when_it_is_taken_and_when_it_is_given_back(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        received: list[Event] = []
        second_broker.listen(received.append)
        held = eventually(lambda: broker.acquire_lock("nightly", "task-1", "worker-1"))
        held.release()

        def lock_events() -> list[LockEvent]:
            return [event for event in received if isinstance(event, LockEvent)]

        eventually(lambda: len(lock_events()) == 2)
        assert [event.kind for event in lock_events()] == ["lock_acquired", "lock_released"]
        assert {event.lock for event in lock_events()} == {"nightly"}
        assert (lock_events()[0].task_id, lock_events()[0].locked_by) == ("task-1", "worker-1")

    def test_the_state_of_the_cluster_shows_the_locks(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        second_broker.cluster_state()
        held = eventually(lambda: broker.acquire_lock("nightly", "task-1", "worker-1"))
        (shown,) = eventually(lambda: second_broker.cluster_state().locks)
        assert (shown.lock, shown.task_id, shown.worker_id) == ("nightly", "task-1", "worker-1")
        held.release()
        eventually(lambda: not second_broker.cluster_state().locks)

    def test_the_state_shows_a_lock_no_more_that_was_taken_away(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        second_broker.cluster_state()
        lock(broker)
        eventually(lambda: second_broker.cluster_state().locks)
        second_broker.force_release_lock("nightly")
        eventually(lambda: not second_broker.cluster_state().locks)
