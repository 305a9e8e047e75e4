"""The first answers of Celery's workers, and the workers that should give them, if known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from tasktools.core.dialects import celery_control, celery_inspect
from tasktools.core.routes import Binding

_PIDBOX: Final = celery_control.pidbox("")


class FirstAnswers:
    """The workers that have answered each of the first queries, and the workers that should."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set by each answer, and once the workers that should answer are known."""
        self._answered: dict[str, set[str]] = {method: set() for method in celery_inspect.METHODS}
        self._expected: frozenset[str] | None = None

    def add(self, method: str, worker_id: str) -> None:
        """Note that a worker has answered *method*."""
        self._answered[method].add(worker_id)
        self.changed.set()

    def expect(self, bindings: Iterable[Binding]) -> None:
        """Expect answers from the workers behind *bindings*, all bindings of the query exchange.

        The owner of a queue with another name, and the queues behind a bound exchange, are not
        known.
        """
        names = [None if each.to_exchange else each.destination for each in bindings]
        pidboxes = [name for name in names if name is not None and name.endswith(_PIDBOX)]
        if len(pidboxes) == len(names):
            self._expected = frozenset(name.removesuffix(_PIDBOX) for name in pidboxes)
            self.changed.set()

    @property
    def are_complete(self) -> bool:
        """Whether the workers that should answer are known, and all of them have answered
        everything."""
        if self._expected is None:
            return False
        return all(self._expected <= workers for workers in self._answered.values())
