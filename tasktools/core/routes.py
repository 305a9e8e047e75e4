"""Routes through exchanges: which queues a routing key reaches, as far as that is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An exchange; messages that it cannot route go to *alternate*.

    With *has_policy*, a policy applies to it, which may set an alternate that is not seen here.
    """

    name: str
    type: str
    alternate: str | None = None
    has_policy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A binding of an exchange to a queue or (`to_exchange`) to another exchange."""

    source: str
    destination: str
    key: str
    to_exchange: bool = False


class _Patterns:
    """The patterns of a topic exchange, indexed by their words, so that few of thousands are tried
    for a key."""

    __slots__ = ("bindings", "following", "takes_any")

    def __init__(self, *, takes_any: bool = False) -> None:
        self.takes_any = takes_any
        """Whether the last word is ``#``, which takes any number of words."""
        self.bindings: list[Binding] = []
        self.following: dict[str, _Patterns] = {}

    def add(self, words: Iterable[str], binding: Binding) -> None:
        """Add *binding*, whose pattern has these *words*."""
        node = self
        for word in words:
            following = node.following.get(word)
            if following is None:
                following = node.following[word] = _Patterns(takes_any=word == "#")
            node = following
        node.bindings.append(binding)

    def matching(self, words: Iterable[str]) -> list[Binding]:
        """Return the bindings whose pattern takes *words*; ``*`` is one word, ``#`` any number."""
        nodes = _with_none_taken([self])
        for word in words:
            nodes = _with_none_taken(
                following
                for node in nodes
                for following in (
                    *(node.following.get(each) for each in (word, "*")),
                    node if node.takes_any else None,
                )
                if following is not None
            )
        return [binding for node in nodes for binding in node.bindings]


def _with_none_taken(nodes: Iterable[_Patterns]) -> dict[_Patterns, None]:
    """Return *nodes*, and the nodes reached from these if a following ``#`` matches no word."""
    closed: dict[_Patterns, None] = {}
    for node in nodes:
        reached: _Patterns | None = node
        while reached is not None and reached not in closed:
            closed[reached] = None
            reached = reached.following.get("#")
    return closed


class Routes(msgspec.Struct, frozen=True, dict=True):
    """The exchanges and bindings of one vhost, at one moment.

    >>> routes = Routes([Exchange(name="dlx", type="topic")],
    ...                 [Binding(source="dlx", destination="emails.dead", key="dlx.*")])
    >>> routes.reached("dlx", "dlx.emails"), routes.reached("dlx", "other")
    (frozenset({'emails.dead'}), frozenset())
    """

    exchanges: Sequence[Exchange] = ()
    bindings: Sequence[Binding] = ()

    @cached_property
    def _exchanges(self) -> Mapping[str, Exchange]:
        return {each.name: each for each in self.exchanges}

    @cached_property
    def _from(self) -> Mapping[str, list[Binding]]:
        return _grouped((binding.source, binding) for binding in self.bindings)

    @cached_property
    def _by_key(self) -> Mapping[tuple[str, str], list[Binding]]:
        return _grouped(((each.source, each.key), each) for each in self.bindings)

    @cached_property
    def _patterns(self) -> Mapping[str, _Patterns]:
        patterns: defaultdict[str, _Patterns] = defaultdict(_Patterns)
        for binding in self.bindings:
            words = binding.key.split(".")
            if not {"*", "#"}.isdisjoint(words):
                patterns[binding.source].add(words, binding)
        return patterns

    @cached_property
    def _bound(self) -> frozenset[str]:
        return frozenset(each.destination for each in self.bindings if not each.to_exchange)

    def lists_bindings_of(self, queue: str) -> bool:
        """Whether any binding of *queue* is listed, as at least that of the default exchange is;
        RabbitMQ 3.10 lists none of a queue whose node is down."""
        return queue in self._bound

    def bound_by_name(self, exchange: str) -> frozenset[str]:
        """Return the queues that *exchange* reaches by a binding with the queue's own name."""
        return frozenset(
            binding.destination
            for binding in self._from.get(exchange, ())
            if binding.key == binding.destination and not binding.to_exchange
        )

    def fed_by(self, exchange: str) -> frozenset[str]:
        """Return the queues that a message to *exchange* can reach with any key, also through other
        exchanges."""
        queues: set[str] = set()
        seen, todo = {exchange}, [exchange]
        while todo:
            for binding in self._from.get(todo.pop(), ()):
                if not binding.to_exchange:
                    queues.add(binding.destination)
                elif binding.destination not in seen:
                    seen.add(binding.destination)
                    todo.append(binding.destination)
        return frozenset(queues)

    def reached(self, exchange: str, key: str) -> frozenset[str] | None:
        """Return the queues that a message with *key* reaches; `None` if that is unknown (an
        exchange that routes by headers, or by rules of a plugin)."""
        queues: set[str] = set()
        seen: set[str] = set()
        todo = [exchange]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name == "":
                queues.add(key)
                continue
            entry = self._exchanges.get(name)
            if entry is None:
                continue
            matching = self._matching(entry, key)
            if matching is None:
                return None
            queues |= {b.destination for b in matching if not b.to_exchange}
            todo += [b.destination for b in matching if b.to_exchange]
            if not matching:
                if entry.has_policy:
                    return None  # it may name an alternate exchange
                todo += [entry.alternate] if entry.alternate is not None else []
        return frozenset(queues)

    def _matching(self, exchange: Exchange, key: str) -> list[Binding] | None:
        bindings = self._from.get(exchange.name, [])
        if not bindings:
            return []
        match exchange.type:
            case "fanout":
                return bindings
            case "direct":
                return self._by_key.get((exchange.name, key), [])
            case "topic":
                patterns = self._patterns.get(exchange.name)
                words = key.split(".") if key else ()
                matching = [] if patterns is None else patterns.matching(words)
                return [*self._by_key.get((exchange.name, key), ()), *matching]
            case _:
                return None


def _grouped(pairs: Iterable[tuple[K, Binding]]) -> Mapping[K, list[Binding]]:
    groups: defaultdict[K, list[Binding]] = defaultdict(list)
    for key, binding in pairs:
        groups[key].append(binding)
    return groups
