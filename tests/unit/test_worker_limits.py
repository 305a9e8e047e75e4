"""Time limits: what runs too long is interrupted, and nothing else ever is."""

from __future__ import annotations

import contextlib
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tasktools.worker.time_limit import Deadlines, Interruption, TimeLimitExceeded
from tests.timing import within


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    deadlines = Deadlines()
    yield deadlines
    deadlines.close()


def spin(seconds: float) -> Callable[[], None]:
    def call() -> None:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            pass

    return call


def limited(deadlines: Deadlines, limit: float, call: Callable[[], object]) -> BaseException | None:
    interruption = Interruption()
    deadlines.set(limit, interruption)
    return interruption.run(call)


def test_what_takes_too_long_is_interrupted(deadlines: Deadlines) -> None:
    with within(5):
        assert isinstance(limited(deadlines, 0.05, spin(30)), TimeLimitExceeded)


def test_what_ends_in_time_is_not(deadlines: Deadlines) -> None:
    assert limited(deadlines, 30, spin(0.001)) is None


def test_what_a_call_raises_is_returned(deadlines: Deadlines) -> None:
    assert isinstance(limited(deadlines, 30, lambda: 1 / 0), ZeroDivisionError)


def test_handlers_of_exceptions_let_it_pass(deadlines: Deadlines) -> None:
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                spin(30)()

    assert isinstance(limited(deadlines, 0.05, stubborn), TimeLimitExceeded)


def test_cleaning_up_is_not_interrupted_again(deadlines: Deadlines) -> None:
    cleaned = []

    def careful() -> None:
        try:
            spin(30)()
        finally:
            spin(0.1)()
            cleaned.append(True)

    assert isinstance(limited(deadlines, 0.02, careful), TimeLimitExceeded)
    assert cleaned


def test_what_waits_in_c_is_interrupted_when_it_returns(deadlines: Deadlines) -> None:
    after = []

    def sleepy() -> None:
        time.sleep(0.2)
        spin(0.001)()
        after.append(True)

    assert isinstance(limited(deadlines, 0.05, sleepy), TimeLimitExceeded)
    assert not after


def test_a_shorter_limit_does_not_wait_behind_a_longer_one(deadlines: Deadlines) -> None:
    deadlines.set(3600, Interruption())
    assert isinstance(limited(deadlines, 0.05, spin(30)), TimeLimitExceeded)


def test_limits_of_calls_that_have_ended_do_not_pile_up(deadlines: Deadlines) -> None:
    for _ in range(5000):
        limited(deadlines, 3600, int)
    assert len(deadlines._due) <= 1000


def test_no_thread_runs_before_there_is_a_limit() -> None:
    Deadlines().close()
    assert not [t for t in threading.enumerate() if t.name == "tasktools-time-limits"]


def test_firing_after_the_end_does_nothing() -> None:
    interruption = Interruption()
    assert interruption.run(int) is None
    interruption.fire()
    spin(0.02)()


def test_firing_before_the_beginning_is_not_forgotten() -> None:
    interruption = Interruption()
    interruption.fire()
    called: list[bool] = []
    assert isinstance(interruption.run(lambda: called.append(True)), TimeLimitExceeded)
    assert not called


@pytest.fixture
def _threads_change_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(20e-6)
    yield
    sys.setswitchinterval(usual)


# A callback of the garbage collector (hypothesis has one) may be hit instead, which swallows it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("_threads_change_often")
def test_an_interruption_at_any_moment_hits_its_call_or_nothing() -> None:
    handed: queue.SimpleQueue[Interruption | None] = queue.SimpleQueue()
    fired: queue.SimpleQueue[None] = queue.SimpleQueue()

    def fire_all() -> None:
        while (interruption := handed.get()) is not None:
            spin(random.uniform(0, 200e-6))()
            interruption.fire()
            fired.put(None)

    firing = threading.Thread(target=fire_all)
    firing.start()
    hits = misses = 0
    try:
        for _ in range(10_000):
            interruption = Interruption()
            handed.put(interruption)
            error = interruption.run(spin(random.uniform(0, 200e-6)))
            assert error is None or isinstance(error, TimeLimitExceeded)
            hits += error is not None
            misses += error is None
            fired.get()  # whatever is on its way arrives here at the latest
    finally:
        handed.put(None)
        firing.join()
    assert min(hits, misses) > 500


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("_threads_change_often")
def test_threads_with_tight_limits_are_never_hit_outside_of_their_calls(
    deadlines: Deadlines,
) -> None:
    hits: list[int] = []

    def work() -> None:
        calls = (spin(random.uniform(0, 0.004)) for _ in range(500))
        hits.append(sum(limited(deadlines, 0.002, call) is not None for call in calls))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hits) == 4
    assert 100 < sum(hits) < 1900
