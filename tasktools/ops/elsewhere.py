"""Messages of a plan that lie in no queue, but in an archive, a recording or a tap.

They are only published: there is no original to acknowledge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.brokers.moving import RawMessage
from tasktools.brokers.tapping import Tapped
from tasktools.core import taps
from tasktools.core.plans import Plan
from tasktools.ops import archive
from tasktools.ops.recording import told
from tasktools.ops.recording.store import File, is_recording
from tasktools.ops.work import Row

_AT_ONCE: Final = 500


def is_elsewhere(plan: Plan) -> bool:
    """Whether the messages of *plan* lie in no queue."""
    return plan.verb == "restore" or is_recording(plan.source) or taps.is_tap(plan.source)


def queue_of(plan: Plan, broker: Broker) -> str:
    """Return the queue that is ours while *plan* is run, so that no other run is at it."""
    if plan.verb == "restore":
        return archive.read_head(plan.source).queue
    target = min(plan.targets, default=plan.source)
    dead = broker.layout.dead_queue(target)
    return dead if broker.topic_exists(dead) else target


def messages(
    plan: Plan, left: Mapping[str, Row], broker: Broker
) -> Iterator[tuple[str, RawMessage]]:
    """Yield the messages of *left*, which is by key, as far as they are still there."""
    if plan.verb == "restore":
        for archived in archive.read(plan.source):
            if archived.key in left:
                raw = RawMessage(archived.body, archived.properties, redelivered=False)
                yield archived.key, raw
        return
    keys = list(left)
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        if taps.is_tap(plan.source):
            found = _tapped(broker, plan.source, some)
        else:
            found = _recorded(File.named(plan.source), some)
        for key, task_id, raw in found:
            # Another file, or another stream, may be there by that name now.
            if task_id == left[key].planned.task_id:
                yield key, raw


_Found = list[tuple[str, str | None, RawMessage]]
"""Key, task id and bytes of messages."""


def _recorded(recording: File, keys: Sequence[str]) -> _Found:
    with recording.read() as connection:
        return [
            (one.key, one.task.task_id, one.raw)
            for one in told.messages_by_key(connection, keys)
            if one.raw is not None
        ]


def _tapped(broker: Broker, tap: str, keys: Sequence[str]) -> _Found:
    wanted = {offset for key in keys if (offset := taps.offset_of(key)) is not None}
    found: _Found = []

    def receive(message: Tapped) -> bool:
        if message.offset in wanted:
            raw = RawMessage(message.body, message.properties, redelivered=False)
            task_id = told.read(message.properties, message.body).task_id
            found.append((taps.key(message.offset), task_id, raw))
        return message.offset >= last

    if wanted:
        last = max(wanted)
        broker.read_tap(tap, receive, offset=min(wanted))
    return found
