"""Moves through a queue: chosen messages are sent on, the rest stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tasktools.brokers.base import Broker
from tasktools.brokers.mover import Moved, RawMessage, Sending
from tasktools.core.amqp import properties
from tasktools.core.errors import QueueInUse, QueueNotFound, ReadOnly
from tasktools.core.models import Properties, PublishResult
from tasktools.testing.conformance.base import Backdoor, Conformance
from tasktools.testing.eventually import eventually

Choice = Callable[[int], str | None]
"""Says where the message of a number goes: a queue, `GONE`, or `None` for it stays."""
GONE = ""
NO_PROPERTIES = properties.encode(Properties())


class Diary:
    """A `Transfer` that records each call. It is done after *wanted* messages."""

    def __init__(self, choice: Choice, *, wanted: int = 1000) -> None:
        self.told: list[tuple[str, Any]] = []
        self.is_cancelled = False
        self._choice = choice
        self._left = wanted

    @property
    def is_done(self) -> bool:
        """Whether *wanted* messages were taken."""
        return self._left <= 0

    def take(self, message: RawMessage) -> Sending | None:
        """Return the sending that the choice has for *message*, if any."""
        n = number(message.body)
        self.told.append(("take", n))
        to = self._choice(n)
        if to is None:
            return None
        self._left -= 1
        return Sending(n, to or None, message.body, message.properties)

    def allowance(self) -> int:
        """Return a number above the number of messages, so that all may be sent."""
        return 1000

    def sending(self, sendings: Sequence[Sending]) -> None:
        """Record the call for each message."""
        self.told += [("sending", sending.number) for sending in sendings]

    def answered(self, answers: Sequence[tuple[Sending, PublishResult]]) -> None:
        """Record the call for each message."""
        self.told += [(answer, sending.number) for sending, answer in answers]

    def write(self) -> None:
        """Do nothing: each call is recorded at once."""

    def settled(self, sendings: Sequence[Sending]) -> None:
        """Record the call for each message."""
        self.told += [("settled", sending.number) for sending in sendings]

    def returned(self, sendings: Sequence[Sending]) -> None:
        """Record the call for each message."""
        self.told += [("returned", sending.number) for sending in sendings]

    def of(self, event: str) -> list[int]:
        """Return the messages of *event*, in any order."""
        return sorted(n for what, n in self.told if what == event)

    def about(self, n: int) -> list[str]:
        """Return the events of a message."""
        return [what for what, which in self.told if which == n]


class Breaking(Diary):
    """A `Diary` that raises an error at the call *event*."""

    def __init__(self, choice: Choice, event: str) -> None:
        super().__init__(choice)

        def fail(*_told: object) -> None:
            raise OSError("no space left")

        setattr(self, event, fail)


class Slow(Diary):
    """A `Transfer` that allows three messages on every other call, and none on the rest."""

    asked = 0

    def allowance(self) -> int:
        """Return 3 and 0 in turn."""
        self.asked += 1
        return 3 * (self.asked % 2)

    def sending(self, sendings: Sequence[Sending]) -> None:
        """Record the number of *sendings*."""
        self.told.append(("at once", len(sendings)))


def number(body: bytes) -> int:
    """Return the number of the message with this body."""
    return int(body.split()[1])


def even(n: int) -> str | None:
    """Choose every second message."""
    return None if n % 2 else "target"


def pass_through(broker: Broker, queue: str, diary: Diary) -> Moved:
    """Work through *queue* once."""
    with broker.mover(queue) as mover:
        return mover.work(diary)


def lying(backdoor: Backdoor, queue: str, count: int) -> list[int]:
    """Return the numbers of the *count* messages in *queue*, waiting until they are there."""
    eventually(lambda: backdoor.depth(queue) == count)
    return [number(body) for body in backdoor.bodies(queue)]


class Moving(Conformance):
    """Behaviours of `mover`."""

    @pytest.fixture
    def queue(self, backdoor: Backdoor) -> str:
        """Return a queue with messages that are numbered from 0 to 9."""
        for name in ("source", "target"):
            backdoor.declare_plain_queue(name)
        for n in range(10):
            backdoor.put("source", b"message %d" % n, Properties(message_id=f"m{n}"))
        return "source"

    def test_what_is_chosen_is_moved_and_the_rest_stays_in_order(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        moved = pass_through(broker, queue, diary := Diary(even))
        assert (moved.ending, moved.seen) == ("end of queue", 10)
        assert diary.of("take") == list(range(10))
        assert lying(backdoor, "target", 5) == [0, 2, 4, 6, 8]
        assert lying(backdoor, queue, 5) == [1, 3, 5, 7, 9]

    def test_each_step_is_told_in_order(self, broker: Broker, queue: str) -> None:
        pass_through(broker, queue, diary := Diary(even))
        assert diary.about(0) == ["take", "sending", "confirmed", "settled"]
        assert diary.about(1) == ["take"]

    def test_it_ends_when_nothing_more_is_wanted(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        moved = pass_through(broker, queue, diary := Diary(even, wanted=2))
        assert (moved.ending, moved.seen) == ("done", 3)
        assert diary.of("settled") == [0, 2]
        assert lying(backdoor, queue, 8) == [1, 3, 4, 5, 6, 7, 8, 9]

    def test_bodies_and_properties_go_as_they_are_given(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        with broker.mover(queue) as mover:
            raw = properties.encode(Properties(message_id="new", headers={"a": 1}))
            mover.put(Diary(even), [Sending(0, "target", b"\xff\x00 body", raw)])
        (message,) = broker.peek("target", 5).messages
        assert (message.properties.message_id, message.properties.headers) == ("new", {"a": 1})
        assert backdoor.bodies("target") == [b"\xff\x00 body"]

    def test_what_is_put_is_answered_and_has_no_original(self, broker: Broker, queue: str) -> None:
        diary = Diary(even)
        with broker.mover(queue) as mover:
            places = enumerate(("target", "nowhere"))
            mover.put(diary, [Sending(n, to, b"body", NO_PROPERTIES) for n, to in places])
        expected = [("sending", 0), ("sending", 1), ("confirmed", 0), ("unroutable", 1)]
        assert sorted(diary.told) == sorted(expected)

    def test_without_a_queue_to_go_to_a_message_is_gone(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        pass_through(broker, queue, diary := Diary(lambda n: GONE if n < 3 else None))
        assert diary.about(2) == ["take", "sending", "confirmed", "settled"]
        assert lying(backdoor, queue, 7) == [3, 4, 5, 6, 7, 8, 9]
        assert backdoor.depth("target") == 0

    def test_what_no_queue_takes_stays_in_its_place(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        pass_through(broker, queue, diary := Diary(lambda n: even(n) or "no such queue"))
        assert diary.of("unroutable") == [1, 3, 5, 7, 9]
        assert diary.of("settled") == [0, 2, 4, 6, 8]
        assert lying(backdoor, queue, 5) == [1, 3, 5, 7, 9]

    def test_what_a_full_queue_refuses_stays_in_its_place(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        backdoor.declare_full_queue("full", 4)
        pass_through(broker, queue, diary := Diary(lambda _n: "full"))
        assert diary.of("refused") == [4, 5, 6, 7, 8, 9]
        assert lying(backdoor, queue, 6) == [4, 5, 6, 7, 8, 9]

    def test_what_comes_meanwhile_is_not_looked_at(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        def choose(n: int) -> str:
            backdoor.put(queue, b"message %d" % (n + 100))
            return "target"

        moved = pass_through(broker, queue, diary := Diary(choose))
        assert moved.seen == 10
        assert diary.of("take") == list(range(10))
        assert lying(backdoor, queue, 10) == list(range(100, 110))

    def test_no_more_are_sent_at_once_than_are_allowed(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        pass_through(broker, queue, diary := Slow(lambda _n: "target"))
        assert all(count <= 3 for what, count in diary.told if what == "at once")
        assert lying(backdoor, "target", 10) == list(range(10))

    def test_one_that_is_cancelled_leaves_what_is_not_sent(
        self, broker: Broker, backdoor: Backdoor, queue: str
    ) -> None:
        def choose(n: int) -> str:
            diary.is_cancelled |= n == 4
            return "target"

        diary = Diary(choose)
        pass_through(broker, queue, diary)
        unsent = diary.of("returned")
        assert unsent == [n for n in diary.of("take") if n not in diary.of("sending")]
        assert 4 in unsent
        stay = [n for n in range(10) if n not in diary.of("settled")]
        assert lying(backdoor, queue, len(stay)) == stay

    @pytest.mark.parametrize("event", ["take", "sending"])
    def test_what_cannot_be_noted_is_not_sent(
        self, broker: Broker, backdoor: Backdoor, queue: str, event: str
    ) -> None:
        with pytest.raises(OSError, match="no space left"):
            pass_through(broker, queue, Breaking(even, event))
        assert backdoor.depth("target") == 0
        assert lying(backdoor, queue, 10) == list(range(10))

    @pytest.mark.parametrize("event", ["answered", "write"])
    def test_what_cannot_be_noted_as_confirmed_keeps_its_original(
        self, broker: Broker, backdoor: Backdoor, queue: str, event: str
    ) -> None:
        with pytest.raises(OSError, match="no space left"):
            pass_through(broker, queue, Breaking(even, event))
        assert lying(backdoor, "target", 5) == [0, 2, 4, 6, 8]
        assert lying(backdoor, queue, 10) == list(range(10))

    def test_a_second_pass_finds_what_is_left_and_says_that_it_was_delivered(
        self, broker: Broker, queue: str
    ) -> None:
        class Watching(Diary):
            def take(self, message: RawMessage) -> Sending | None:
                self.told.append(("redelivered", message.redelivered))
                return super().take(message)

        diaries = [Watching(even), Watching(even)]
        with broker.mover(queue) as mover:
            assert [mover.work(diary).seen for diary in diaries] == [10, 5]
        assert [set(diary.of("redelivered")) for diary in diaries] == [{False}, {True}]

    def test_an_empty_queue_is_through_at_once(self, broker: Broker, backdoor: Backdoor) -> None:
        backdoor.declare_plain_queue("empty")
        assert pass_through(broker, "empty", Diary(even)) == Moved(ending="end of queue", seen=0)

    def test_a_queue_is_one_movers_until_it_is_closed(
        self, broker: Broker, second_broker: Broker, queue: str
    ) -> None:
        mover = broker.mover(queue)
        for other in (broker, second_broker):
            with pytest.raises(QueueInUse, match=queue):
                other.mover(queue)
        second_broker.mover("target").close()
        mover.close()
        mover.close()
        eventually(lambda: pass_through(second_broker, queue, Diary(even)).seen == 10)

    def test_a_queue_that_does_not_exist_cannot_be_worked_through(self, broker: Broker) -> None:
        with pytest.raises(QueueNotFound, match="missing"):
            broker.mover("missing")

    def test_a_read_only_client_moves_nothing(self, queue: str, read_only_broker: Broker) -> None:
        with pytest.raises(ReadOnly):
            read_only_broker.mover(queue)
