"""A recording as a broker that can only be looked at: what `Cluster` needs to show any moment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Never, Self

from tasktools.brokers.base import Capabilities
from tasktools.brokers.document import DocumentNames
from tasktools.core import layout as layouts
from tasktools.core import schemas
from tasktools.core.clock import moment
from tasktools.core.compose import Composer, FunctionNames
from tasktools.core.errors import LookRefused, ReadOnly, RecordingError, UnknownTap
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import ClusterState, Source, TopicReport, TopicSettings, TopicStats
from tasktools.ops.recording import moment as moments
from tasktools.ops.recording.store import File, number

_GONE: Final = ("gone", "stopped")
_FROM_BROKER: Final = tuple(
    column.name for column in schemas.TOPICS.columns if column.source != "events"
)


_LAST: Final = "SELECT at + span FROM ticks ORDER BY at DESC LIMIT 1"
_LAST_SEEN: Final = """
SELECT at + span FROM ticks WHERE (events_ok OR topics_ok) AND at >= (
  SELECT at FROM ticks WHERE events_ok OR topics_ok ORDER BY at DESC LIMIT 1) - 60000
ORDER BY events_ok + topics_ok DESC, at DESC LIMIT 1
"""


class HistoryClock:
    """Stands still at a moment; without one, at the last one at which the cluster was seen.

    A broker that is going down is seen in part only: the last minute's last whole picture counts.
    """

    def __init__(self, recording: File, at: float | None) -> None:
        self._recording = recording
        self._at = at

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._found(_LAST_SEEN) or self.last()

    def last(self) -> float:
        """Return the end of what is recorded: later than `time` if the cluster was out of sight."""
        return self._found(_LAST) or 0.0

    def _found(self, query: str) -> float | None:
        if self._at is not None:
            return self._at
        with self._recording.read() as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else float(row[0]) / 1000

    def sleep(self, seconds: float) -> None:
        """Return at once: nothing will happen."""


class HistoryBroker(DocumentNames):
    """The cluster of a recording at the moment *at*; without one, as it was seen last, which moves
    on while a recorder writes. It keeps the looking half of the contract, and refuses the other."""

    capabilities = Capabilities(
        quorum_queues=False, survives_restart=True, foreign_peers=False, streams=False
    )
    read_only = True

    def __init__(self, recording: File, at: float | None = None) -> None:
        self.recording = recording
        self.clock = HistoryClock(recording, at)
        self._at = at
        self._functions = FunctionNames()

    def __repr__(self) -> str:
        return f"<HistoryBroker {self.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def at(self, moment: float) -> HistoryBroker:
        """Return the same recording at another moment, in seconds since the epoch."""
        return HistoryBroker(self.recording, moment)

    # --- what it is -------------------------------------------------------------------

    @functools.cached_property
    def _session(self) -> dict[str, Any]:
        with self.recording.read() as connection:
            row = connection.execute(
                "SELECT cluster, layout, server, demo FROM sessions "
                "ORDER BY started <= ? DESC, session DESC LIMIT 1",
                (number(self.clock.time()),),
            ).fetchone()
        if row is None:
            raise RecordingError(f"Nothing is recorded in {self.recording.path} yet.")
        return dict(zip(("cluster", "layout", "server", "demo"), row, strict=True))

    @property
    def address(self) -> str:
        """The DSN of the recording."""
        return self.recording.name

    @property
    def layout(self) -> Layout:
        """The names that were in use."""
        return layouts.named(self._session["layout"])

    @property
    def composer(self) -> Composer:
        """Builds messages for it, which nobody will get."""
        return Composer(self.layout, self.clock, self._functions)

    @property
    def note(self) -> str | None:
        """Which cluster it was, and when."""
        now, last = self.clock.time(), self.clock.last()
        note = f"recorded from {self._session['cluster']}, as it was at {_clock(now)}"
        if last > now:
            note += f"; after that it could not be seen, or in part only, until {_clock(last)}"
        return note

    @property
    def server_version(self) -> str | None:
        """Version of the server that was recorded."""
        found: str | None = self._session["server"]
        return found

    @property
    def demo(self) -> bool:
        """Whether it was a demo."""
        return bool(self._session["demo"])

    def connect(self) -> None:
        """Raise `RecordingError` unless it can be read."""
        self._session  # noqa: B018

    def close(self) -> None:
        """Nothing is open."""

    # --- looking ----------------------------------------------------------------------

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        """Return the cluster as its events showed it."""
        del settle
        now = self.clock.time()
        at = number(now)
        with self.recording.read() as connection:
            tick = moments.tick_before(connection, at)
            if tick is None:
                why = moments.why_nothing(connection, at)
                return ClusterState(
                    at=moment(now), events=Source(name="events", ok=False, note=why)
                )
            workers = moments.workers(connection, tick)
            states = {worker.worker_id: worker.state for worker in workers}

            def is_gone(worker_id: str | None) -> bool | None:
                return states[worker_id] in _GONE if worker_id in states else None

            found = moments.topics(connection, tick)
            return ClusterState(
                at=moment(now),
                events=Source(
                    name="events",
                    ok=tick.events_ok,
                    age=now - tick.at / 1000 + (tick.events_age or 0.0),
                    note=tick.events_note,
                ),
                workers=workers,
                running=moments.running(connection, at),
                locks=moments.locks(connection, at, is_gone),
                settings={
                    name: TopicSettings(concurrency_limit=topic.concurrency_limit)
                    for name, topic in found.items()
                },
                counters={name: topic.counters for name, topic in found.items()},
                topics=frozenset(found),
            )

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        """Return the topics as the broker told of them."""
        now = self.clock.time()
        with self.recording.read() as connection:
            tick = moments.tick_before(connection, number(now))
            found = {} if tick is None else moments.topics(connection, tick)
            note = moments.why_nothing(connection, number(now)) if tick is None else None
        if tick is not None:
            note = tick.topics_note
        unknown = {name: TopicStats(topic=name, exists=None) for name in topics}
        stats = unknown | {name: topic.stats for name, topic in found.items()}
        source = Source(
            name="broker",
            ok=tick is not None and tick.topics_ok,
            columns=_FROM_BROKER,
            age=None if tick is None else now - tick.at / 1000,
            note=note,
        )
        return TopicReport(topics=tuple(stats[name] for name in sorted(stats)), sources=(source,))

    def known_topics(self) -> frozenset[str]:
        """Return the topics that were known."""
        return frozenset(stats.topic for stats in self.topic_report().topics)

    def topic_exists(self, topic: str) -> bool:
        """Whether the topic had a queue; dead-letter queues had one with their topic."""
        found = {stats.topic for stats in self.topic_report().topics if stats.exists is not False}
        return topic in found or topic.removesuffix(self.layout.dead_queue("")) in found

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        """Return the settings that the broker kept."""
        with self.recording.read() as connection:
            return moments.settings(connection, number(self.clock.time()))

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        """Nothing will be heard of a recording."""
        del callback, tasks
        return lambda: None

    def _no_look(self, queue: str, *_args: Any, **_kwargs: Any) -> Never:
        raise LookRefused(
            f"There is no queue {queue!r} to look at: this is a recording. failures() tells of "
            "tasks that failed; connect to the cluster itself to look into its queues."
        )

    look_verdict = peek = _no_look

    def read_tap(self, name: str, *_args: Any, **_kwargs: Any) -> Never:
        """Refuse it: what a recording has kept is not a stream."""
        raise UnknownTap(
            f"There is no tap {name!r} to read: this is a recording. published() shows the "
            "messages that it has kept."
        )

    # --- the other half ---------------------------------------------------------------

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Never:
        raise ReadOnly(
            "This is a recording, so it was refused; nothing was changed. Connect to the cluster "
            "itself to change things."
        )

    setup = publish = publish_many = claim = consume = ack = nack = dead_letter = _refuse
    purge = mover = overhear = tap = untap = ensure_topic = create_topic = configure_topic = _refuse
    broadcast = acquire_lock = force_release_lock = _refuse


def _clock(at: float) -> str:
    return f"{moment(at):%Y-%m-%d %H:%M:%S} UTC"
