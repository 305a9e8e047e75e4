"""The recorder: a thread that writes down what a cluster looks like and what happens in it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Final, Self

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import BrokerError, Closed, RecordingError
from tasktools.core.models import TopicSettings
from tasktools.ops import tasks
from tasktools.ops.recording.inbox import Inbox
from tasktools.ops.recording.keeping import Keeper, Retention
from tasktools.ops.recording.sampling import Picture
from tasktools.ops.recording.store import Recording
from tasktools.ops.recording.writing import Session, Writer

_log = logging.getLogger("tasktools.recorder")

_TIDIED_EVERY: Final = 60.0
_SETTINGS_EVERY: Final = 60.0
_HELD_UP: Final = "the recorder was held up"
_TOO_SOON: Final = 0.1  # of an interval: so near to the last tick is no tick of its own


class Recorder:
    """Records a cluster until it is stopped. Made by `Cluster.record`; a context manager.

    `problem` says what keeps it from recording at present, else it is `None`; it goes on by
    itself once that is over, and the recording has a gap. `ticks` counts what was written.
    """

    def __init__(
        self,
        broker: Broker,
        recording: Recording,
        *,
        every: float = 5.0,
        messages: bool = False,
        bodies: bool = False,
        retention: Retention | None = None,
        most_events: int = 500_000,
        named: Callable[[], Iterable[str]] = lambda: (),
        clock: Clock | None = None,
    ) -> None:
        self.recording = recording
        self.problem: str | None = None
        self.ticks = 0
        self._broker = broker
        self._session = Session(every=every, messages=messages or bodies, bodies=bodies)
        self._retention = retention or Retention()
        self._named = named
        self._clock = clock or SystemClock()
        self._inbox = Inbox(self._clock, most_events)
        self._open = contextlib.ExitStack()
        self._writer: Writer | None = None
        self._keeper: Keeper | None = None
        self._settings: dict[str, TopicSettings] | None = None
        self._tidied = self._asked = 0.0
        self._ticking = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        state = self.problem or f"{self.ticks:,} ticks"
        return f"<Recorder of {self._broker.address} into {self.recording.name}: {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Record from now on, in a thread of its own. Idempotent.

        Raises `RecordingError` when the file cannot be used, and what the broker raises.
        """
        if self._thread is not None:
            return
        self.open()
        self.tick()
        self._thread = threading.Thread(target=self._record, name="tasktools-recorder", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Open the file and listen; `tick` may be called from now on. Idempotent."""
        if self._writer is not None or self._stopping.is_set():
            return
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self.recording.write())
            stack.callback(self._broker.listen(self._inbox.hear))
            if self._session.messages:
                stack.callback(self._broker.overhear(self._inbox.overhear, self._inbox.missed))
            self._writer = Writer(connection, self._broker, self._session, self._clock.time())
            self._keeper = Keeper(connection, self._retention)
            self._open = stack.pop_all()

    def close(self) -> None:
        """Write what is left, and end. Idempotent."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._ticking:
            writer, self._writer = self._writer, None
            if writer is None:
                return
            with self._open, contextlib.suppress(sqlite3.Error):
                if thread is not None:
                    self._tick(writer)
                writer.end(self._clock.time())

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended: it or its cluster was closed, or its file is gone."""
        return self._stopping.is_set()

    # --- a tick -----------------------------------------------------------------------

    def tick(self) -> None:
        """Write down what there is now."""
        with self._ticking:
            if self._writer is not None:
                self._tick(self._writer)

    def _record(self) -> None:
        while not self._stopping.wait(until_next(self._clock.time(), self._session.every)):
            self.tick()

    def _tick(self, writer: Writer) -> None:
        before = self.problem
        try:
            picture = self._look()
            self.recording.check()
            with self.recording.alone():
                writer.hear(self._inbox.take())
                writer.write(picture, why_late=before or _HELD_UP)
                self._tidy()
        except RecordingError as error:
            self.problem = str(error)
            self._stopping.set()
        except sqlite3.Error as error:
            self.problem = (
                f"Nothing can be written into {self.recording.name} ({error}): what is heard is "
                "kept in memory, samples are missing. It goes on by itself once that is mended."
            )
        except Exception as error:  # noqa: BLE001 - the recorder must outlive what it did not foresee
            self.problem = f"A tick failed: {error!r}"
            _log.exception("a tick of the recorder failed")
        else:
            self.problem = picture.why
            self.ticks += 1
        if self.problem not in (None, before):
            _log.warning("%s", self.problem)

    def _look(self) -> Picture:
        """Return what the cluster looks like, as far as it can be seen."""
        at = self._clock.time()
        state = report = why = None
        try:
            state = self._broker.cluster_state()
            settings = self._kept_settings(at)
            topics = {*state.topics, *self._named(), *(settings or ())}
            report = self._broker.topic_report(topics)
        except Closed:
            why = "The cluster was closed; nothing more is recorded."
            self._stopping.set()
        except BrokerError as error:
            why = str(error)
        return Picture(
            at=self._clock.time(), state=state, report=report, settings=self._settings, why=why
        )

    def _kept_settings(self, now: float) -> dict[str, TopicSettings] | None:
        """Ask for the kept settings now and then: it takes a lock of the broker's."""
        if now - self._asked >= _SETTINGS_EVERY:
            kept, note = tasks.kept_settings(self._broker)
            self._settings = dict(kept) if note is None else None
            self._asked = now
        return self._settings

    def _tidy(self) -> None:
        now = self._clock.time()
        if self._keeper is not None and now - self._tidied >= _TIDIED_EVERY:
            self._tidied = now
            self._keeper.tidy(now)


def until_next(now: float, every: float) -> float:
    """Return the seconds until the next multiple of *every*, so that nothing drifts."""
    left = every - now % every
    return left + every if left < _TOO_SOON * every else left
