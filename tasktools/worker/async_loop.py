"""The event loop of coroutine tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Coroutine
from typing import Any

from tasktools.worker.time_limit import TimeLimitExceeded

_log = logging.getLogger("tasktools.worker")


class Loop:
    """The event loop of all coroutine tasks, in one thread, which begins at once."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        name = "tasktools-async-tasks"
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._has_ended = False
        self._is_closed = False
        self._entering = threading.Lock()
        self._thread.start()

    def run(
        self, coroutine: Coroutine[Any, Any, object], limit: float | None
    ) -> BaseException | None:
        """Run *coroutine* in a copy of this thread's context, and wait; return its exception.

        After `close` nothing begins; the result is a `CancelledError`."""
        try:
            with self._entering:
                if self._is_closed:
                    return asyncio.CancelledError()
                limited = _limited(coroutine, limit)
                future = asyncio.run_coroutine_threadsafe(limited, self._loop)
            return future.result()
        except concurrent.futures.CancelledError:
            return asyncio.CancelledError()
        finally:
            coroutine.close()  # one that was cancelled before it began

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._has_ended:
            try:
                self._loop.run_forever()
            except BaseException:  # noqa: BLE001 - SystemExit of something that a task has started
                _log.exception("something that a task left running has failed")
        self._loop.close()

    def close(self) -> None:
        """Cancel running coroutines and end the loop, waiting for them up to a second."""
        with self._entering:  # what came before is there to be cancelled, and nothing comes after
            self._is_closed = True
            asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(1)

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=0.5)
        await self._loop.shutdown_asyncgens()
        self._has_ended = True
        self._loop.stop()


async def _limited(
    coroutine: Coroutine[Any, Any, object], limit: float | None
) -> BaseException | None:
    try:
        async with asyncio.timeout(limit) as timeout:
            await coroutine
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure
        if isinstance(error, TimeoutError) and timeout.expired():
            return TimeLimitExceeded()
        return error
    return None
