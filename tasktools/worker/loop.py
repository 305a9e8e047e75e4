"""The event loop of coroutine tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from tasktools.worker.context import CURRENT, CurrentTask
from tasktools.worker.limits import TimeLimitExceeded


class Loop:
    """The event loop of all coroutine tasks, in one thread, started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[[], Any], limit: float | None, current: CurrentTask) -> None:
        """Run the coroutine that *call* makes, and wait for it."""

        async def limited() -> None:
            CURRENT.set(current)
            try:
                async with asyncio.timeout(limit) as timeout:
                    await call()
            except TimeoutError:
                if timeout.expired():
                    raise TimeLimitExceeded from None
                raise

        asyncio.run_coroutine_threadsafe(limited(), self._started()).result()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                name = "tasktools-async-tasks"
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name=name, daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.close()

    def close(self) -> None:
        """Stop the loop; what still runs in it is cancelled."""
        if self._loop is None or self._thread is None:
            return
        loop = self._loop

        def end() -> None:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon(loop.stop)

        loop.call_soon_threadsafe(end)
        self._thread.join(1)
