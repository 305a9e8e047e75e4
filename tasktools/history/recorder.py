"""The recorder: a thread that writes samples and events of a cluster into a recording."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Final, Self

from msgspec.structs import replace

from tasktools.brokers.base import Broker
from tasktools.core import workload
from tasktools.core.clock import Clock, ClockWatch, SystemClock, in_words
from tasktools.core.errors import BrokerError, Closed, RecordingError
from tasktools.core.events import Event
from tasktools.core.models import ClusterState, TopicReport, TopicSettings
from tasktools.history.copy_support import why_no_copies
from tasktools.history.event_buffer import EventBuffer
from tasktools.history.retention import Retention, RetentionJob
from tasktools.history.samples import Snapshot
from tasktools.history.server_facts import ServerSampler
from tasktools.history.sessions import Session
from tasktools.history.store import Recording
from tasktools.history.writer import Writer
from tasktools.monitor import active_tasks

_log = logging.getLogger("tasktools.recorder")

_RETENTION_SECONDS: Final = 60.0
_SETTINGS_SECONDS: Final = 60.0
_HELD_UP: Final = "the recorder was held up"
_UNSAMPLED: Final = "nobody looked at the cluster"
"""The reason for gaps in a recording in memory, which is sampled only on request."""
_WILL_CONTINUE: Final = (
    ": events stay in memory, samples are missing. It continues by itself once that is fixed."
)
_NO_MESSAGES: Final = (
    "messages are not recorded: {}; begins and ends of tasks are, as far as events report them"
)
_MIN_SHARE_OF_INTERVAL: Final = 0.1  # a shorter wait than this skips a tick


class Recorder:
    """A recorder of a cluster, made by `Cluster.record`; a context manager.

    `problem` says in words why nothing can be recorded at present, else it is `None`. The recorder
    continues by itself afterwards, and the recording has a gap. `ticks` counts the ticks written.
    `note` says which requested data is not recorded, and why.
    """

    def __init__(
        self,
        broker: Broker,
        recording: Recording,
        session: Session | None = None,
        *,
        retention: Retention | None = None,
        max_events: int = 500_000,
        named: Callable[[], Iterable[str]] = lambda: (),
        always_shown: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self.recording = recording
        self.problem: str | None = None
        self.note: str | None = None
        self.ticks = 0
        self._broker = broker
        self._session = session or Session()
        self._retention = retention or Retention()
        self._named = named
        self._always_shown = frozenset(always_shown)
        self._clock = clock or SystemClock()
        self._buffer = EventBuffer(self._clock, max_events, self._pair_attempts)
        self._hearing = contextlib.ExitStack()
        self._open = contextlib.ExitStack()
        self._writer: Writer | None = None
        self._retention_job: RetentionJob | None = None
        self._settings: dict[str, TopicSettings] | None = None
        self._topics: frozenset[str] = frozenset()
        self._existing: frozenset[str] = frozenset()
        self._tidied_at = self._settings_read_at = float("-inf")
        self._watch = ClockWatch(self._clock)
        self._started = self._clock.time() - self._clock.monotonic()
        self._ticking = threading.Lock()
        self._stopping = threading.Event()
        self._server = ServerSampler(broker, self._server_topics, self._stopping)
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        state = self.problem or ", ".join(filter(None, (f"{self.ticks:,} ticks", self.note)))
        return f"<Recorder of {self._broker.address} into {self.recording.name}: {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start recording in a thread of its own. Idempotent.

        Raises `RecordingError` if the file cannot be used, and any error of the broker.
        """
        if self._thread is not None:
            return
        self.open()
        self.tick()
        self._thread = threading.Thread(target=self._record, name="tasktools-recorder", daemon=True)
        self._thread.start()
        self._server.start()
        atexit.register(self.close)  # for a process that ends without it: a notebook's kernel

    def open(self) -> None:
        """Open the file and subscribe to events; then `tick` may be called. Idempotent."""
        if self._writer is not None or self._stopping.is_set():
            return
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self.recording.write())
            hearing = stack.enter_context(contextlib.ExitStack())
            hearing.callback(self._broker.listen(self._buffer.handle_event))
            if self._session.messages:
                why_not = why_no_copies(self._broker)
                self.note = why_not and _NO_MESSAGES.format(why_not)
            if self.note is not None:
                _log.warning("%s", self.note)
                self._session = replace(self._session, messages=False, bodies=False)
            if self._session.messages:
                hearing.callback(self._broker.overhear(self._buffer.overhear, self._buffer.missed))
            with self.recording.distrusted(connection):
                writer = Writer(connection, self._broker, self._session, self._clock.time())
            with contextlib.suppress(BrokerError):  # the first tick reports it
                writer.count_from(self._broker.cluster_state())
            self._writer = writer
            self._retention_job = RetentionJob(connection, self._retention)
            self._hearing, self._open = hearing, stack.pop_all()

    def close(self) -> None:
        """Write the buffered events and messages, and stop. Idempotent.

        What cannot be written is lost; `problem` says how much.
        """
        atexit.unregister(self.close)
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._server.join()
        with self._ticking:
            writer, self._writer = self._writer, None
            if writer is None:
                return
            with self._open:
                self._hearing.close()  # first: events after the last tick are not recorded
                if self.recording.outlives_its_recorder:
                    self._tick(writer, is_last=True)
                    self._count_unwritten(writer)
                with contextlib.suppress(sqlite3.Error):
                    writer.end(self._clock.time())

    def _count_unwritten(self, writer: Writer) -> None:
        """Set `problem` to the data that the last tick could not write."""
        writer.add(self._buffer.take())
        if writer.waiting:
            self.problem = (
                f"The last {writer.waiting:,} events or messages are not in {self.recording.name} "
                f"and are lost; all earlier ones are in it. Reason: {self.problem}"
            )
            _log.warning("%s", self.problem)

    @property
    def is_stopped(self) -> bool:
        """Whether the recorder has stopped: it or its cluster was closed, or its file is gone."""
        return self._stopping.is_set()

    def handle_event(self, event: Event) -> None:
        """Record an event that this process has sent; the broker need not deliver it back."""
        self._buffer.handle_event(event)

    def _pair_attempts(self) -> None:
        """Pair starts and ends of tasks before the next tick, since there are many.

        Called in a thread of the broker that a tick may be waiting for, so it must not wait.
        """
        if self._ticking.acquire(blocking=False):
            try:
                if self._writer is not None:
                    self._writer.add(self._buffer.take())
            finally:
                self._ticking.release()

    # --- a tick -----------------------------------------------------------------------

    def tick(self, *, settle: float = 0.0) -> Snapshot | None:
        """Sample the cluster, and write the sample with the buffered events; return the sample,
        `None` if the recorder was closed.

        *settle*: seconds to wait for the workers' first heartbeats.
        """
        with self._ticking:
            return None if self._writer is None else self._tick(self._writer, settle=settle)

    def _record(self) -> None:
        while not self._stopping.wait(until_next(self._clock.time(), self._session.every)):
            self.tick()

    def _tick(
        self, writer: Writer, *, settle: float = 0.0, is_last: bool = False
    ) -> Snapshot | None:
        before = self.problem
        snapshot = None
        try:
            snapshot = self._snapshot(settle)
            self.recording.check()
            step = self._watch.take()
            why_late = _HELD_UP if self.recording.outlives_its_recorder else _UNSAMPLED
            if step:
                why_late = f"the clock of this machine was {in_words(step)}"
            with self.recording.alone():
                writer.add(self._buffer.take())
                writer.shift(snapshot.at, step)
                writer.write(snapshot, why_late=before or why_late, is_last=is_last)
                if (facts := self._server.take()) is not None:
                    writer.keep_server(facts)
                self._tidy()
        except RecordingError as error:
            self.problem = str(error)
            self._stopping.set()
        except sqlite3.Error as error:
            self.problem = f"Nothing can be written into {self.recording.name} ({error})"
            self.problem += ". Make room for it, and record again." if is_last else _WILL_CONTINUE
        except Exception as error:  # noqa: BLE001 - the recorder must survive any bug
            self.problem = f"A tick failed: {error!r}"
            _log.exception("a tick of the recorder failed")
        else:
            self.problem = snapshot.why
            self.ticks += 1
        if self.problem not in (None, before):
            _log.warning("%s", self.problem)
        return snapshot

    def _snapshot(self, settle: float) -> Snapshot:
        """Return the cluster as it is now, as far as the broker answers."""
        state = report = why = None
        try:
            state = self._broker.cluster_state(settle=settle)
            settings = self._read_settings()
            self._topics = frozenset({*state.topics, *self._named(), *(settings or ())})
            report = self._present(self._broker.topic_report(self._topics), state)
        except Closed:
            why = "The cluster was closed; nothing more is recorded."
            self._stopping.set()
        except BrokerError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - events are written all the same
            why = f"The cluster could not be looked at: {error!r}"
            _log.exception("a look of the recorder failed")
        return Snapshot(
            at=self._clock.time(), state=state, report=report, settings=self._settings, why=why
        )

    def _present(self, report: TopicReport, state: ClusterState) -> TopicReport:
        """Return *report* without the topics that are gone, except that a topic is kept once after
        it went: that sample records it as gone."""
        existed = self._existing
        self._existing = frozenset(
            stats.topic for stats in report.topics if stats.exists is not False
        )
        return workload.without_gone(
            report, state, always_shown={*self._always_shown, *(self._settings or ()), *existed}
        )

    def _read_settings(self) -> dict[str, TopicSettings] | None:
        """Return the settings that the broker stores, read once a minute: reading takes a lock."""
        now = self._clock.monotonic()
        if now - self._settings_read_at >= _SETTINGS_SECONDS:
            settings, note = active_tasks.kept_settings(self._broker)
            self._settings = dict(settings) if note is None else None
            self._settings_read_at = now
        return self._settings

    def _server_topics(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the topics to ask the broker about, and those of them with a limit."""
        limits = {
            topic
            for topic, settings in (self._settings or {}).items()
            if settings.concurrency_limit is not None
        }
        return self._topics, frozenset(limits)

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        if self._retention_job is not None and now - self._tidied_at >= _RETENTION_SECONDS:
            self._tidied_at = now
            # A clock that is set forward must not make samples look old enough to delete.
            self._retention_job.tidy(min(self._clock.time(), self._started + now))


def until_next(now: float, every: float) -> float:
    """Return the seconds until the next multiple of *every*, so that nothing drifts."""
    left = every - now % every
    return left + every if left < _MIN_SHARE_OF_INTERVAL * every else left
