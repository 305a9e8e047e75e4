"""Routes through exchanges: which queues a routing key reaches, as far as that can be told."""

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
    """An exchange; *alternate* takes what it cannot route.

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
    def _patterns(self) -> Mapping[str, list[Binding]]:
        return _grouped(
            (binding.source, binding)
            for binding in self.bindings
            if not {"*", "#"}.isdisjoint(binding.key.split("."))
        )

    def bound_by_name(self, exchange: str) -> frozenset[str]:
        """Return the queues that *exchange* reaches by a binding with the queue's own name."""
        return frozenset(
            binding.destination
            for binding in self._from.get(exchange, ())
            if binding.key == binding.destination and not binding.to_exchange
        )

    def fed_by(self, exchange: str) -> frozenset[str]:
        """Return the queues to which *exchange* may bring a message, whatever its key, also by
        way of other exchanges."""
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
        """Return the queues that a message with *key* reaches; `None` where that cannot be told
        (an exchange that routes by headers, or by a plugin's rules)."""
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
                words = key.split(".")
                patterns = self._patterns.get(exchange.name, ())
                matching = [b for b in patterns if _matches(b.key.split("."), words)]
                return [*self._by_key.get((exchange.name, key), ()), *matching]
            case _:
                return None


def _grouped(pairs: Iterable[tuple[K, Binding]]) -> Mapping[K, list[Binding]]:
    groups: defaultdict[K, list[Binding]] = defaultdict(list)
    for key, binding in pairs:
        groups[key].append(binding)
    return groups


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Whether a topic exchange's *pattern* takes *words*; `*` is one word, `#` any number."""
    # `reachable` holds the numbers of words that the pattern so far can have taken.
    reachable = {0}
    for part in pattern:
        if part == "#":
            reachable = set(range(min(reachable), len(words) + 1)) if reachable else set()
        else:
            reachable = {
                taken + 1
                for taken in reachable
                if taken < len(words) and part in ("*", words[taken])
            }
    return len(words) in reachable
