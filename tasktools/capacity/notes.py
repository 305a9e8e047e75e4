"""Notes on an answer, in words: what is unknown, and what data would help."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Final

from tasktools.capacity.answers import Answer, PoolAnswer, PoolSolver
from tasktools.capacity.models import Model
from tasktools.capacity.need import OutOfReach
from tasktools.capacity.quality import checks_of
from tasktools.capacity.scalability import scalability_of
from tasktools.capacity.simulation import DEFAULT_RETRY_DELAY
from tasktools.core.plurals import counted
from tasktools.core.timespans import in_words

_JUDGED_BY_INTERVAL: Final = "independent arrivals"
_FIT: Final = 2.0
_SLOWER: Final = 1.25
_SEEN: Final = 1.5
"""Factor by which the fitted law is trusted beyond the largest number of running tasks in the
data."""
_MAX_WIDTH: Final = 2.0
_LITTLE: Final = 1.2
"""Factor up to which a longer recording is called "a little longer"."""


def notes_of(answer: Answer, pool: PoolAnswer, solver: PoolSolver, shared: str | None) -> list[str]:
    """Return the notes on *answer*; *shared* are the notes on all topics of its pool."""
    notes = [*_of_data(answer, solver), *_of_need(answer, pool, solver)]
    if answer.load is not None:
        notes += [*_of_sharing(answer, pool, shared), *_of_more_slots(answer)]
    return notes


def _of_data(answer: Answer, solver: PoolSolver) -> Iterator[str]:
    topic = solver.demand.topics[answer.topic]
    if answer.load is None:
        yield "no task arrived" if not len(topic.arrivals) else "no try has ended"
        return
    for check in checks_of(solver.demand, topic):
        if check.ok is False and check.note is not None and check.check != _JUDGED_BY_INTERVAL:
            yield check.note
    if topic.failed.any() and topic.retry_delay is None and any(answer.load.tasks.retries):
        yield f"the retry delay was not recorded: {DEFAULT_RETRY_DELAY:g} s is assumed"


def _of_need(answer: Answer, pool: PoolAnswer, solver: PoolSolver) -> Iterator[str]:
    if answer.topic in pool.out_of_reach:
        yield pool.out_of_reach[answer.topic]
    need = answer.need
    if need is not None and need.width > _MAX_WIDTH:
        text = f"not known to ±1 {'worker' if pool.method == 'events' else 'slot'}: "
        if math.isinf(need.width):
            yield text + "there are too few tasks"
        elif solver.model is not None and solver.model.is_sampled:
            yield text + "of so many tasks only sampled hours are simulated"
        else:
            yield f"{text}a recording {_longer((need.width / 2) ** 2)} would be enough"
    if answer.fit is not None and not 1 / _FIT <= answer.fit <= _FIT:
        which, ratio = ("longer", 1 / answer.fit) if answer.fit < 1 else ("shorter", answer.fit)
        yield (
            f"the model does not fit: recorded waits are {ratio:.2g} times {which} than simulated "
            "ones: hoarded messages, a limit, workers that come and go, or publishers that wait "
            "for results"
        )
    if answer.load is not None and not solver.pool.workers:
        yield "no worker was recorded: its capacity and the number of workers are unknown"


def _longer(times: float) -> str:
    """Return in words the length of a recording that is *times* times as long.

    >>> _longer(1.04), _longer(6.25)
    ('a little longer', 'about 6.2 times as long')
    """
    return f"about {times:.2g} times as long" if times >= _LITTLE else "a little longer"


def _of_sharing(answer: Answer, pool: PoolAnswer, shared: str | None) -> Iterator[str]:
    if len(pool.pool.topics) > 1:
        yield f"slots and workers are those of {', '.join(pool.pool.topics)} together"
    if shared:
        yield shared
    load = answer.load
    limit = None if load is None else load.topic.limit
    if limit is None or answer.topic in pool.out_of_reach:
        return
    holders, left = 0, limit
    for worker in pool.pool.workers:
        if answer.topic in worker.topics and left > 0:
            left -= worker.prefetch.get(answer.topic, worker.capacity)
            holders += 1
    consumers = sum(answer.topic in worker.topics for worker in pool.pool.workers)
    if holders < consumers:
        yield (
            f"all permits of its limit of {limit} stay with the first {counted(holders, 'worker')} "
            f"of {consumers}, even if others idle: prefetch 1 for this topic spreads them"
        )


def _of_more_slots(answer: Answer) -> Iterator[str]:
    law = None if answer.load is None else scalability_of(answer.load.topic)
    if law is None or answer.load is None or answer.slots is None:
        return
    need = answer.slots if answer.need is None else answer.need.value * answer.unit
    slots = min(float(need), _SEEN * law.seen)
    if slots > law.best:
        yield (
            f"more workers may not help: with over {law.best:.0f} running fewer tasks end a second "
            f"({in_words(law.alone)} alone, {in_words(law.service(slots))} with {slots:.0f} "
            "running); see what they all wait for"
        )
    elif law.service(slots) > _SLOWER * law.service(max(answer.load.mean, 1.0)):
        yield (
            f"tasks take longer as more run ({in_words(law.alone)} alone, "
            f"{in_words(law.service(slots))} with {slots:.0f} running): more workers help less "
            "than this says"
        )


# --- what sharing costs -------------------------------------------------------------------


def hoarding_note(pool: PoolAnswer, solver: PoolSolver) -> str | None:
    """Return the cost of prefetching several topics, in words; `None` if there is none."""
    by_wait, one_queue = pool.by_wait, pool.one_queue
    if by_wait is None or one_queue is None or by_wait <= one_queue or len(solver.loads) < 2:
        return None
    unit = 1.0 if solver.model is None else solver.model.unit
    options = []
    if any(held > 1 for worker in pool.pool.workers for held in _held(worker.prefetch, unit)):
        workers = _enough(solver.pool_model(prefetch=1), solver, by_wait)
        if workers is not None:
            options.append((workers, f"prefetch 1 would need {workers}"))
    with contextlib.suppress(OutOfReach):
        apart = sum(math.ceil(solver.one_queue_slots(name) / unit) for name in solver.loads)
        options.append((apart, f"workers of their own for each topic {apart} together"))
    best, advice = min(options, default=(by_wait, ""))
    text = (
        f"messages that a worker has fetched wait for it while others idle: that takes {by_wait} "
        f"workers, where one queue would need {one_queue}"
    )
    if best < by_wait:
        text += f"; {advice}"
    elif unit == 1:
        text += "; fewer workers with more slots each would lose less"
    return text


def _held(prefetch: object, unit: float) -> list[float]:
    values = list(prefetch.values()) if isinstance(prefetch, dict) else []
    return values or [unit]


def _enough(model: Model, solver: PoolSolver, guess: int) -> int | None:
    try:
        return max(model.late(name).least(guess, solver.question.quantile) for name in solver.loads)
    except OutOfReach:
        return None
