"""The messages of plans whose source is no queue: an archive, a recording or a tap.

Such messages are only published: there is no original to acknowledge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.brokers.mover import RawMessage
from tasktools.brokers.taps import Tapped
from tasktools.core import taps
from tasktools.core.plans import Plan
from tasktools.history import records
from tasktools.history.store import File
from tasktools.replay import archive
from tasktools.replay.transfer import Item

_BATCH_SIZE: Final = 500  # messages that are read, and held, at once


class MessageSource(ABC):
    """The messages of *plan*, stored outside of queues."""

    def __init__(self, plan: Plan, broker: Broker) -> None:
        self._plan = plan
        self._broker = broker

    @property
    def locked_queue(self) -> str:
        """The queue to lock while the plan is run, so that no other run works on it."""
        target = min(self._plan.targets, default=self._plan.source)
        dead = self._broker.dead_queue(target)
        return dead if dead is not None and self._broker.queue_exists(dead) else target

    @abstractmethod
    def messages(self, wanted: Mapping[str, Item]) -> Iterator[tuple[str, RawMessage]]:
        """Yield the *wanted* messages that still exist, each with its key."""


class ArchiveSource(MessageSource):
    """Discarded messages in an archive."""

    @property
    def locked_queue(self) -> str:
        """The queue that the archived messages were taken from."""
        return archive.read_head(self._plan.source).queue

    def messages(self, wanted: Mapping[str, Item]) -> Iterator[tuple[str, RawMessage]]:
        """Yield the *wanted* messages in the order in which they were discarded."""
        for archived in archive.read(self._plan.source):
            if archived.key in wanted:
                yield (
                    archived.key,
                    RawMessage(archived.body, archived.properties, redelivered=False),
                )


class _KeyedSource(MessageSource):
    """Messages that are read by their keys, a batch at a time."""

    def messages(self, wanted: Mapping[str, Item]) -> Iterator[tuple[str, RawMessage]]:
        """Yield the *wanted* messages, reading a batch of keys at a time."""
        keys = list(wanted)
        for start in range(0, len(keys), _BATCH_SIZE):
            for key, task_id, raw in self._read(keys[start : start + _BATCH_SIZE]):
                # Another file, or another stream, may have this name by now.
                if task_id == wanted[key].planned.task_id:
                    yield key, raw

    @abstractmethod
    def _read(self, keys: Sequence[str]) -> Iterable[tuple[str, str | None, RawMessage]]:
        """Return key, task id and contents of the messages of *keys*."""


class RecordingSource(_KeyedSource):
    """Messages that a recorder has kept."""

    def _read(self, keys: Sequence[str]) -> Iterable[tuple[str, str | None, RawMessage]]:
        with File.named(self._plan.source).read() as connection:
            return [
                (message.key, message.task.task_id, message.raw)
                for message in records.messages_by_key(connection, keys)
                if message.raw is not None
            ]


class TapSource(_KeyedSource):
    """Messages in a stream on the broker."""

    def _read(self, keys: Sequence[str]) -> Iterable[tuple[str, str | None, RawMessage]]:
        offsets = {offset for key in keys if (offset := taps.offset_of(key)) is not None}
        messages: list[tuple[str, str | None, RawMessage]] = []

        def receive(message: Tapped) -> bool:
            if message.offset in offsets:
                raw = RawMessage(message.body, message.properties, redelivered=False)
                task_id = records.read(message.properties, message.body).task_id
                messages.append((taps.key(message.offset), task_id, raw))
            return message.offset >= last

        if offsets:
            last = max(offsets)
            self._broker.read_tap(self._plan.source, receive, offset=min(offsets))
        return messages


def source_of(plan: Plan, broker: Broker) -> MessageSource | None:
    """Return the store of the messages of *plan*; `None` if they are in a queue."""
    match plan.source_kind:
        case "queue":
            return None
        case "archive":
            return ArchiveSource(plan, broker)
        case "recording":
            return RecordingSource(plan, broker)
        case "tap":
            return TapSource(plan, broker)
