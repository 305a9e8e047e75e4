"""A run's progress bar, and a run that Ctrl-C ends in order."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Final, Self, TypeVar

from tasktools.core.plans import Plan

T = TypeVar("T")
_POLL_SECONDS: Final = 0.1


class Progress:
    """Counts the messages of *plan* that have come to an end: for people, or for a function.

    *notice* is called with the reason when the run is held up, and with an empty text when it
    continues.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        show: bool | Callable[[int], object],
        notice: Callable[[str], object] | None = None,
    ) -> None:
        from tqdm.auto import tqdm

        self._notice = notice
        self._obstacle: str | None = None
        self._tell = show if callable(show) else None
        self._bar = tqdm(total=len(plan), desc=plan.verb, unit="msg", disable=show is not True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._bar.close()

    def update(self, n: int) -> None:
        """Count *n* more messages that have ended."""
        self._bar.update(n)
        if self._tell is not None and n:
            self._tell(n)

    def stand_still(self, obstacle: str | None) -> None:
        """Show why no message moves at present, if *obstacle* has changed."""
        if obstacle == self._obstacle:
            return
        self._obstacle = obstacle
        text = "" if obstacle is None else f"waiting: {obstacle}"
        self._bar.set_postfix_str(text)
        if self._notice is not None:
            self._notice(text)


def in_background(
    work: Callable[[], T], cancelled: threading.Event, meanwhile: Callable[[], object]
) -> T:
    """Return the result of *work*, which runs in a thread; Ctrl-C sets *cancelled* and waits for
    its end.

    *meanwhile* is called ten times a second.
    """
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
            meanwhile()
            thread.join(_POLL_SECONDS)
        except KeyboardInterrupt:
            cancelled.set()
    return result.result()
