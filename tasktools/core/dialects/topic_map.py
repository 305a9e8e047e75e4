"""The topics of a vhost: the dialect of their workers, and their dead-letter queues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.errors import InvalidDialect, MalformedDSN
from tasktools.core.layout import OF_PROGRAMS

_TOPIC = "{topic}"


class TopicMap:
    """The topics of *vhost*: those of the *dialects* in use there, and those *named* by the user.

    *announced* has the dialect of each topic whose workers reported that they consume it, by name.
    A queue that does not exist gets the announced dialect, else the first of *dialects*, in which
    topics are created. *dead* is the name of dead-letter queues, as ``"{topic}.dlq"``, if the user
    set it.
    """

    def __init__(
        self,
        dialects: Sequence[Dialect],
        vhost: Vhost,
        *,
        named: Iterable[str] = (),
        announced: Mapping[str, str] | None = None,
        dead: str | None = None,
    ) -> None:
        self._vhost = vhost
        self._dead = dead
        self._spoken = dialects
        self._rest = dialects[-1] if dialects[-1].has_the_rest else dialects[0]
        self._dialects: dict[str, Dialect] = {}
        by_name = {dialect.name: dialect for dialect in dialects}
        self._announced = {
            topic: by_name[name] for topic, name in (announced or {}).items() if name in by_name
        }
        todo = {
            queue
            for queue in vhost.queues
            if not queue.startswith(OF_PROGRAMS)
            and not any(dialect.is_own_queue(queue, vhost.queues) for dialect in dialects)
        }
        ends = vhost.ends() | {self._by_template(queue) or "" for queue in todo}
        for dialect in dialects:
            mine = {topic for topic, each in self._announced.items() if each is dialect}
            claimed = _topics(dialect, vhost, todo, ends) | (mine & todo)
            self._dialects.update(dict.fromkeys(claimed, dialect))
            todo -= claimed | {dialect.dead_queue(topic) or "" for topic in claimed}
        for topic in named:
            self._dialects.setdefault(topic, self._default(topic))
        self._dead_queues = {topic: self._dead_queue(topic) for topic in self._dialects}
        self._homes: defaultdict[str, list[str]] = defaultdict(list)
        for topic, queue in sorted(self._dead_queues.items()):
            if queue is not None:
                self._homes[queue].append(topic)

    def knows(self, queue: str) -> bool:
        """Whether *queue* is a known queue of the vhost."""
        return queue in self._vhost.queues

    @property
    def topics(self) -> Collection[str]:
        """The topics."""
        return self._dialects.keys()

    def dialect_of(self, queue: str) -> Dialect:
        """Return the dialect of the workers that consume *queue*, of any kind."""
        topic = next(iter(self.homes_of(queue)), queue)
        return self._dialects.get(topic) or self._default(queue)

    def dead_queue(self, topic: str) -> str | None:
        """Return the queue with the dead letters of *topic*; `None` where it is not known."""
        if topic in self._dead_queues:
            return self._dead_queues[topic]
        return self._dead_queue(topic)

    def homes_of(self, queue: str) -> Sequence[str]:
        """Return the topics whose dead letters go to *queue*."""
        if queue in self._homes:
            return self._homes[queue]
        homes = (dialect.home_of(queue) for dialect in self._spoken)
        return [home for home in homes if home is not None][:1]

    def _dead_queue(self, topic: str) -> str | None:
        by_template = self._by_template(topic)
        if by_template is not None:
            return by_template
        dialect = self._dialects.get(topic) or self._default(topic)
        by_convention = dialect.dead_queue(topic)
        return by_convention or self._vhost.followed(topic)

    def _default(self, queue: str) -> Dialect:
        if queue in self._announced:  # its workers say so of a queue that is not there
            return self._announced[queue]
        return self._rest if queue in self._vhost.queues else self._spoken[0]

    def _by_template(self, topic: str) -> str | None:
        return None if self._dead is None else self._dead.replace(_TOPIC, topic)


def _topics(dialect: Dialect, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
    """Return which of *queues* are topics of *dialect*, a dialect that may come from another
    package."""
    try:
        return queues & dialect.topics(vhost, queues, ends)
    except Exception as error:
        if type(dialect).__module__.startswith(f"{__package__}."):
            raise
        raise InvalidDialect(
            f"The dialect {dialect.name!r} of another package failed to list its topics "
            f"({type(error).__name__}: {error}); nothing was changed. Fix that package, or "
            "uninstall it."
        ) from error


def check_template(dead: str) -> None:
    """Raise `MalformedDSN` unless *dead* names the dead-letter queue of each topic."""
    if _TOPIC not in dead or dead == _TOPIC:
        raise MalformedDSN(
            f"dead={dead!r} does not name a queue for each topic; nothing was contacted. Write it "
            'as "{topic}.dlq".'
        )
