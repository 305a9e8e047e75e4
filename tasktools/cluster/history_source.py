"""The source of answers about the past: the events that this process received, or a recording."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock
from tasktools.core.errors import Closed, NotRecorded
from tasktools.core.events import Event
from tasktools.core.models import RunningTask, TaskMessage
from tasktools.core.timespans import Moment, epoch
from tasktools.history import extent, records
from tasktools.history.broker import HistoryBroker
from tasktools.history.retention import Retention
from tasktools.history.samples import Snapshot
from tasktools.history.series import Window
from tasktools.history.sessions import Session
from tasktools.history.store import Memory, Recording

if TYPE_CHECKING:  # imported where it is begun, since that takes a tenth of `import tasktools`
    from tasktools.history.recorder import Recorder

_RETENTION: Final = Retention(full="1h", samples="1h", events="1h", size=256 * 1024**2)
_MAX_EVENTS: Final = 50_000


class LiveHistory:
    """A recording in memory of the events and samples that this process has of a live cluster."""

    is_recorded = False

    def __init__(
        self,
        broker: Broker,
        topics: Callable[[], Iterable[str]],
        always_shown: frozenset[str],
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._always_shown = always_shown
        self._clock = clock
        self._recorder: Recorder | None = None
        self._is_closed = False
        self._starting = threading.Lock()  # the threads of two widgets may ask for it at once

    @property
    def address(self) -> str:
        """The address of the cluster."""
        return self._broker.address

    @property
    def problem(self) -> str | None:
        """The reason why the recorder cannot record at present; `None` if it can."""
        return None if self._recorder is None else self._recorder.problem

    def start(self) -> None:
        """Begin to record. Idempotent."""
        self._started()

    def _started(self) -> Recorder:
        with self._starting:
            if self._recorder is None:
                from tasktools.history.recorder import Recorder

                self._recorder = Recorder(
                    self._broker,
                    Memory(),
                    Session(every=1.0, arguments=True),
                    retention=_RETENTION,
                    max_events=_MAX_EVENTS,
                    named=self._topics,
                    always_shown=self._always_shown,
                    clock=self._clock,
                )
            self._recorder.open()
            return self._recorder

    def recording(self) -> Recording:
        """Return the recording that this process keeps in memory, after one more sample."""
        if self._is_closed:
            raise Closed
        recorder = self._started()
        recorder.tick()
        return recorder.recording

    def observe(self, settle: float) -> tuple[Snapshot, Recording]:
        """Return one more sample, and the recording; waits up to *settle* seconds for the first
        heartbeats of workers."""
        recorder = self._started()
        snapshot = recorder.tick(settle=settle)
        if snapshot is None:
            raise Closed
        return snapshot, recorder.recording

    def handle_event(self, event: Event) -> None:
        """Record an event that this process has sent."""
        self._started().handle_event(event)

    def end(self) -> float:
        """Return the present (s since the epoch)."""
        return self._clock.time()

    def broker_at(self, moment: Moment) -> HistoryBroker:
        """Raise `NotRecorded`: a live cluster shows only the present."""
        del moment
        raise NotRecorded(
            "A live cluster shows only the present; nothing was changed. Record it with "
            "cluster.record(path), and connect to the recording: sqlite:///path."
        )

    def seen_tasks(self, running: Iterable[RunningTask]) -> list[TaskMessage]:
        """Return nothing: events do not carry messages."""
        del running
        return []

    def note(self, connection: sqlite3.Connection, window: Window, *, has_gaps: bool) -> str | None:
        """Return a sentence on missed events if there are gaps."""
        return extent.of_gaps(connection, window) if has_gaps else None

    def close(self) -> None:
        """Stop recording and drop the received events."""
        self._is_closed = True
        if self._recorder is not None:
            self._recorder.close()


class RecordedHistory:
    """A recording: the cluster of `tasktools.connect("sqlite:///ops.db")`."""

    is_recorded = True
    problem: str | None = None

    def __init__(self, broker: HistoryBroker) -> None:
        self._broker = broker

    @property
    def address(self) -> str:
        """The address of the cluster that was recorded."""
        return self._broker.recorded_address

    def start(self) -> None:
        """Do nothing: it is recorded already."""

    def recording(self) -> Recording:
        """Return the recording."""
        return self._broker.recording

    def observe(self, settle: float) -> tuple[Snapshot, Recording]:
        """Return the sample of the shown moment, and the recording."""
        del settle
        snapshot = Snapshot(
            at=self._broker.clock.time(),
            state=self._broker.cluster_state(),
            report=self._broker.topic_report(),
            settings=self._broker.topic_settings(),
        )
        return snapshot, self._broker.recording

    def handle_event(self, event: Event) -> None:
        """Do nothing: nothing happens in a recording."""

    def end(self) -> float:
        """Return the end of the recording (s since the epoch), including time in which the cluster
        could not be observed."""
        return self._broker.clock.last()

    def broker_at(self, moment: Moment) -> HistoryBroker:
        """Return the same recording at *moment*."""
        return self._broker.at(epoch(moment, self._broker.clock.time()))

    def seen_tasks(self, running: Iterable[RunningTask]) -> list[TaskMessage]:
        """Return the recorded messages of *running* tasks."""
        with self._broker.recording.read() as connection:
            return records.seen_tasks(connection, [run.task_id for run in running])

    def note(self, connection: sqlite3.Connection, window: Window, *, has_gaps: bool) -> str | None:
        """Return in words which cluster was recorded, and which part of *window*."""
        del has_gaps
        return self._broker.note_of(connection, window)

    def close(self) -> None:
        """Do nothing: nothing is open."""


HistorySource = LiveHistory | RecordedHistory


def history_source_of(
    broker: Broker, topics: Callable[[], Iterable[str]], always_shown: frozenset[str], clock: Clock
) -> HistorySource:
    """Return where answers about the past of *broker* come from; *topics* are sampled too, those
    *always_shown* also as long as they do not exist."""
    if isinstance(broker, HistoryBroker):
        return RecordedHistory(broker)
    return LiveHistory(broker, topics, always_shown, clock)
