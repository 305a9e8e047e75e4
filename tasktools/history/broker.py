"""A recording as a read-only broker: what `Cluster` needs to show the cluster at any moment."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Never, Self

import msgspec
from msgspec.structs import replace

from tasktools.brokers.base import Capabilities
from tasktools.brokers.queries import DocumentNames
from tasktools.brokers.topics_by_dialect import TopicsByDialect
from tasktools.core import layout as layouts
from tasktools.core.clock import moment
from tasktools.core.dialects import fastpluggy, registry
from tasktools.core.dialects.choice import DialectChoice
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.errors import LookRefused, ReadOnly, RecordingError, UnknownTap
from tasktools.core.events import Event
from tasktools.core.frames import schemas
from tasktools.core.layout import Layout
from tasktools.core.models import ClusterState, Source, TopicReport, TopicSettings, TopicStats
from tasktools.core.server_facts import ServerFacts
from tasktools.core.tasks.compose import Composer, FunctionNames
from tasktools.history import extent, server_facts, topic_dialects
from tasktools.history import snapshot as moments
from tasktools.history.file_checks import OPEN_WITHIN, time_of
from tasktools.history.series import Window
from tasktools.history.store import File, number
from tasktools.history.tables import select
from tasktools.history.topic_dialects import TopicDialect

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


class Session(msgspec.Struct, frozen=True, array_like=True):
    """A row of ``sessions``: the cluster that was recorded."""

    cluster: Annotated[str, msgspec.Meta(max_length=2_000)]
    layout: Literal["fp", "taskworker"]
    server: Annotated[str, msgspec.Meta(max_length=200)] | None
    demo: int


class HistoryClock:
    """A clock that stands still at a moment; by default, when the cluster was last seen.

    While a broker shuts down, samples are incomplete: the last complete tick of the last minute
    counts.
    """

    def __init__(self, recording: File, at: float | None) -> None:
        self._recording = recording
        self._at = at

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._found(_LAST_SEEN) or self.last()

    def last(self) -> float:
        """Return the end of the recording; later than `time` if the cluster was not observed at the
        end."""
        return self._found(_LAST) or 0.0

    def _found(self, query: str) -> float | None:
        if self._at is not None:
            return self._at
        with self._recording.read(within=OPEN_WITHIN) as connection:
            row = connection.execute(query).fetchone()
            return None if row is None else time_of(row[0])

    def monotonic(self) -> float:
        """Return the same as `time`: this clock is never set."""
        return self.time()

    def sleep(self, seconds: float) -> None:
        """Return at once: nothing changes in a recording."""


class HistoryBroker(TopicsByDialect, DocumentNames):
    """The recorded cluster at the moment *at*; by default, as it was last seen.

    While a recorder writes, the default moves on. All methods that read work; those that change
    the cluster raise `ReadOnly`.
    """

    capabilities = Capabilities(quorum_queues=False, streams=False)
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
    def _session(self) -> Session:
        now = number(self.clock.time())
        with self.recording.read(within=OPEN_WITHIN) as connection:
            source = "FROM sessions AS t ORDER BY started <= ? DESC, session DESC LIMIT 1"
            for session in select(connection, Session, source, (now,)):
                return session
        raise RecordingError(f"Nothing is recorded in {self.recording.path} yet.")

    @property
    def address(self) -> str:
        """The DSN of the recording."""
        return self.recording.name

    @property
    def recorded_address(self) -> str:
        """The address of the cluster that was recorded."""
        return self._session.cluster

    @property
    def identity(self) -> None:
        """None: a run never takes place on a recording."""

    @property
    def layout(self) -> Layout:
        """The names of queues and exchanges that were in use."""
        return layouts.named(self._session.layout)

    @property
    def composer(self) -> Composer:
        """Builds messages for plans; a recording never sends them."""
        return Composer(self.dialect_of, self.clock, self._functions)

    @property
    def note(self) -> str | None:
        """The recorded cluster, the extent of the recording, its gaps, and the moment shown."""
        now, last = number(self.clock.time()), number(self.clock.last())
        with self.recording.read(within=OPEN_WITHIN) as connection:
            note = f"recorded from {self._session.cluster}, {extent.of_all(connection)}"
        note += f"; this is as it was at {extent.clock(now)}"
        if last > now:
            note += (
                f"; after that it could not be seen, or in part only, until {extent.clock(last)}"
            )
        return note

    def note_of(self, connection: sqlite3.Connection, window: Window) -> str:
        """Return in words which cluster was recorded, which part of *window*, and the gaps in
        it."""
        return f"recorded from {self._session.cluster}, {extent.of_window(connection, window)}"

    @property
    def server_version(self) -> str | None:
        """Version of the server that was recorded."""
        return self._session.server

    @property
    def demo(self) -> bool:
        """Whether the recorded cluster was a demo."""
        return bool(self._session.demo)

    def connect(self) -> None:
        """Raise `RecordingError` unless the recording can be read."""
        self._session  # noqa: B018

    def close(self) -> None:
        """Do nothing: no file stays open."""

    # --- looking ----------------------------------------------------------------------

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        """Return the cluster state by the events up to that moment."""
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

            topics_by_name = moments.topics(connection, tick)
            return ClusterState(
                at=moment(now),
                events=Source(
                    name="events",
                    ok=bool(tick.events_ok),
                    age=now - tick.at / 1000 + (tick.events_age or 0.0),
                    note=tick.events_note,
                ),
                workers=workers,
                running=moments.running(connection, at),
                locks=moments.locks(connection, at, is_gone),
                settings={
                    name: TopicSettings(concurrency_limit=topic.concurrency_limit)
                    for name, topic in topics_by_name.items()
                },
                counters={name: topic.counters for name, topic in topics_by_name.items()},
                topics=frozenset(topics_by_name),
            )

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        """Return the topics as the broker reported them at that moment."""
        now = self.clock.time()
        with self.recording.read() as connection:
            tick = moments.tick_before(connection, number(now))
            samples = {} if tick is None else moments.topics(connection, tick)
            note = moments.why_nothing(connection, number(now)) if tick is None else None
        if tick is not None:
            note = tick.topics_note
        unknown = {name: TopicStats(topic=name, exists=None) for name in topics}
        stats = unknown | {name: topic.stats for name, topic in samples.items()}
        topic_map, known = self._map(stats), self._recorded()
        stats = {
            name: replace(
                each,
                dead_queue=known[name].dead_queue if name in known else topic_map.dead_queue(name),
                dialect=(name in known and known[name].dialect) or topic_map.dialect_of(name).name,
            )
            for name, each in stats.items()
        }
        source = Source(
            name="broker",
            ok=tick is not None and bool(tick.topics_ok),
            columns=_FROM_BROKER,
            age=None if tick is None else now - tick.at / 1000,
            note=note,
        )
        return TopicReport(topics=tuple(stats[name] for name in sorted(stats)), sources=(source,))

    def server_facts(
        self, topics: Collection[str] = (), *, limits: Collection[str] = ()
    ) -> ServerFacts:
        """Return the last recorded facts of the server before that moment."""
        del topics, limits
        with self.recording.read() as connection:
            return server_facts.server_facts(connection, self.clock.time())

    @property
    def dialects(self) -> Sequence[Dialect]:
        """The dialects in use, by the exchanges in the recording."""
        try:
            return self._dialects(self.server_facts())
        except RecordingError:  # what is damaged is told by whoever asks for it
            return (fastpluggy.of_layout(self.layout),)

    def _dialects(self, facts: ServerFacts) -> Sequence[Dialect]:
        exchanges = () if facts.routes is None else facts.routes.exchanges
        spoken: Sequence[Dialect] = (fastpluggy.of_layout(self.layout),)
        if exchanges:
            choice = DialectChoice()
            choice.decide({each.name for each in exchanges})
            spoken = choice.spoken
        names = {each.dialect for each in self._recorded().values()}
        others = (each for each in registry.installed() if each.name in names)
        more = (*spoken, *(each for each in others if each not in spoken))
        return sorted(more, key=lambda each: each.has_the_rest)

    def _recorded(self) -> Mapping[str, TopicDialect]:
        with self.recording.read() as connection:
            return topic_dialects.recorded(connection, number(self.clock.time()))

    def dialect_of(self, queue: str) -> Dialect:
        """Return the dialect of the workers of *queue*, as known at that moment."""
        known = self._recorded()
        topic = next(iter(self.homes_of(queue)), queue)
        name = known[topic].dialect if topic in known else None
        return (name and registry.find(name)) or super().dialect_of(queue)

    def dead_queue(self, topic: str) -> str | None:
        """Return the dead-letter queue of *topic*, as known at that moment."""
        known = self._recorded()
        return known[topic].dead_queue if topic in known else super().dead_queue(topic)

    def homes_of(self, queue: str) -> Sequence[str]:
        """Return the topics whose dead letters went to *queue*."""
        known = sorted(each.topic for each in self._recorded().values() if each.dead_queue == queue)
        return known or super().homes_of(queue)

    def topic_map(self, queue: str) -> TopicMap:
        """Return the topics known at that moment, *queue* among them."""
        return self._map([queue])

    def _map(self, named: Iterable[str]) -> TopicMap:
        facts = self.server_facts()
        queues = {name: queue.facts for name, queue in (facts.queues or {}).items()}
        vhost = Vhost(queues=queues, routes=facts.routes)
        return TopicMap(self._dialects(facts), vhost, named=named)

    def known_topics(self) -> frozenset[str]:
        """Return the topics known at that moment."""
        return frozenset(stats.topic for stats in self.topic_report().topics)

    def topic_exists(self, topic: str) -> bool:
        """Whether the topic had a queue."""
        return any(
            stats.topic == topic and stats.exists is not False
            for stats in self.topic_report().topics
        )

    def queue_exists(self, queue: str) -> bool:
        """Whether there was such a queue: dead-letter queues existed with their topic."""
        return self.topic_exists(queue) or any(map(self.topic_exists, self.homes_of(queue)))

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        """Return the settings that the broker stored."""
        with self.recording.read() as connection:
            return moments.settings(connection, number(self.clock.time()))

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        """Do nothing: a recording sends no events."""
        del callback, tasks
        return lambda: None

    def _no_look(self, queue: str, *_args: Any, **_kwargs: Any) -> Never:
        raise LookRefused(
            f"There is no queue {queue!r} to look at: this is a recording. failures() lists "
            "tasks that failed; connect to the cluster itself to look into its queues."
        )

    queue_facts = look_verdict = peek = _no_look

    def read_tap(self, name: str, *_args: Any, **_kwargs: Any) -> Never:
        """Raise `UnknownTap`: a recording has no streams."""
        raise UnknownTap(
            f"There is no tap {name!r} to read: this is a recording. published() shows the "
            "messages that were recorded."
        )

    # --- the other half ---------------------------------------------------------------

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Never:
        raise ReadOnly(
            "This is a recording, so it was refused; nothing was changed. Connect to the cluster "
            "itself to change things."
        )

    setup = publish = publish_many = claim = consume = ack = nack = dead_letter = _refuse
    purge = mover = overhear = tap = untap = ensure_topic = create_topic = configure_topic = _refuse
    check_writable = delete_topic = command = _refuse
    count_begin = forget_begins = broadcast = acquire_lock = force_release_lock = _refuse
