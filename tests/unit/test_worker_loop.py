"""The event loop of coroutine tasks, and what happens to them when it ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tasktools.worker.async_loop import Loop


async def forever(begun: threading.Event) -> None:
    begun.set()
    await asyncio.sleep(30)


def test_what_runs_is_cancelled_when_it_is_closed() -> None:
    loop, begun = Loop(), threading.Event()
    errors: list[BaseException | None] = []
    thread = threading.Thread(target=lambda: errors.append(loop.run(forever(begun), None)))
    thread.start()
    assert begun.wait(30)
    loop.close()
    thread.join(30)
    assert [type(error) for error in errors] == [asyncio.CancelledError]


def test_nothing_begins_once_it_is_closed() -> None:
    loop, begun = Loop(), threading.Event()
    loop.close()
    assert isinstance(loop.run(forever(begun), None), asyncio.CancelledError)
    assert not begun.is_set()


@pytest.mark.parametrize("time", range(50))
def test_what_comes_while_it_is_closed_is_cancelled_and_nobody_waits(time: int) -> None:
    """Whichever comes first: neither hangs, and no coroutine is left that was never awaited."""
    del time
    loop = Loop()
    errors: list[BaseException | None] = []

    def run() -> None:
        errors.append(loop.run(forever(threading.Event()), None))

    threads = [threading.Thread(target=run), threading.Thread(target=loop.close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert [type(error) for error in errors] == [asyncio.CancelledError]
