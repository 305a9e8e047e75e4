"""Messages of a plan that lie in no queue, but in an archive or in a recording.

They are only published: there is no original to acknowledge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.brokers.moving import RawMessage
from tasktools.core.plans import Plan
from tasktools.ops import archive
from tasktools.ops.recording import told
from tasktools.ops.recording.store import File, is_recording
from tasktools.ops.work import Row

_AT_ONCE: Final = 500


def is_elsewhere(plan: Plan) -> bool:
    """Whether the messages of *plan* lie in no queue."""
    return plan.verb == "restore" or is_recording(plan.source)


def queue_of(plan: Plan, broker: Broker) -> str:
    """Return the queue that is ours while *plan* is run, so that no other run is at it."""
    if plan.verb == "restore":
        return archive.read_head(plan.source).queue
    target = min(plan.targets, default=plan.source)
    dead = broker.layout.dead_queue(target)
    return dead if broker.topic_exists(dead) else target


def messages(plan: Plan, left: Mapping[str, Row]) -> Iterator[tuple[str, RawMessage]]:
    """Yield the messages of *left*, which is by key, as far as they are still there."""
    if plan.verb == "restore":
        for archived in archive.read(plan.source):
            if archived.key in left:
                raw = RawMessage(archived.body, archived.properties, redelivered=False)
                yield archived.key, raw
        return
    recording = File.named(plan.source)
    keys = list(left)
    for start in range(0, len(keys), _AT_ONCE):
        with recording.read() as connection:
            found = list(told.messages_by_key(connection, keys[start : start + _AT_ONCE]))
        for one in found:
            # Another file may be there by that name now.
            if one.raw is not None and one.task.task_id == left[one.key].planned.task_id:
                yield one.key, one.raw
