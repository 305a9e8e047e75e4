"""A run's progress bar, and a run that Ctrl-C ends in order."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from tasktools.core.plans import Plan

T = TypeVar("T")
_GLANCE: Final = 0.1


class Progress:
    """Counts the messages of *plan* that have come to an end: for people, or for a function."""

    def __init__(self, plan: Plan, *, show: bool | Callable[[int], object]) -> None:
        from tqdm.auto import tqdm

        self._tell = show if callable(show) else None
        self._bar = tqdm(total=len(plan), desc=plan.verb, unit="msg", disable=show is not True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, n: int) -> None:
        """*n* more have ended."""
        self._bar.update(n)
        if self._tell is not None and n:
            self._tell(n)


def in_background(work: Callable[[], T], cancelled: threading.Event) -> T:
    """Return what *work* returns; an interruption (Ctrl-C) sets *cancelled* and waits for it."""
    result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            result.set_exception(error)

    thread = threading.Thread(target=run, name="tasktools-run", daemon=True)
    thread.start()
    while thread.is_alive():
        try:
            thread.join(_GLANCE)
        except KeyboardInterrupt:
            cancelled.set()
    return result.result()
