"""`tt.capacity.solve`: the number of workers that is needed, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pandas as pd

from tasktools.capacity.answers import Answer, PoolAnswer, PoolSolver, answer_of
from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.capacity.models import pools_of
from tasktools.capacity.notes import hoarding_note, notes_of
from tasktools.capacity.question import question_of
from tasktools.capacity.topic_loads import with_hours
from tasktools.cluster.cluster import Cluster
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import SOLUTIONS
from tasktools.core.timespans import Moment, Span

_SINCE: Final = "28D"


def solve(
    history: Cluster | Demand,
    wait_below: Span | None = "30s",
    quantile: float = 0.95,
    utilisation_below: float | None = None,
    clear_within: Span | None = None,
    traffic: float = 1.0,
    service: float = 1.0,
    since: Moment = "28D",
    until: Moment | None = None,
) -> pd.DataFrame:
    """Return how many slots and workers each topic needs, with the interval of that.

    The recorded tasks are simulated with the recorded service times, with as many slots as it
    takes. Topics that share workers are simulated together, with the prefetch of their workers,
    their limits and retries. Bursts and daily patterns are not assumed; they come from the
    recording.

    Parameters
    ----------
    history
        A recording (``tt.connect("sqlite:///ops.db")``); a live cluster, of which only events
        received by this process are known; or the ``demand`` of `inputs`, so that it is read once
        for many answers.
    wait_below
        How long tasks may wait for their first try: seconds, or a span as ``"30s"``; `None`: no
        limit.
    quantile
        Share of the tasks that must not wait longer.
    utilisation_below
        Share of the slots that may be busy in the busiest hour of the week, 0 to 1.
    clear_within
        How long after a peak its backlog may last: seconds, or a span as ``"30min"``.
    traffic
        Factor of the number of tasks, as 1.5 for half as many again: bursts and days are kept.
    service
        Factor of the service times.
    since
        The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"7D"``).
    until
        The end; by default now, or the end of the recording. A ``demand`` allows neither.

    Returns
    -------
    pandas.DataFrame
        One row a topic (schema `SOLUTIONS`). ``attrs["pools"]``: the topics that share workers, in
        lists; ``attrs["notes"]``: the notes, each once.

    Raises
    ------
    ValueError
        An argument makes no sense; nothing was computed.
    RecordingError
        The recording cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from tasktools.capacity import Demand, TopicDemand, solve
    >>> rng = np.random.default_rng(1)
    >>> arrivals = np.sort(rng.uniform(0, 3 * 86_400, 20_000))
    >>> emails = TopicDemand(
    ...     "emails", arrivals, "messages", rng.exponential(30.0, 20_000),
    ...     np.zeros(20_000, dtype=bool), np.zeros(0), None, None, None,
    ... )
    >>> days = (0.0, 3 * 86_400.0)
    >>> frame = solve(Demand(*days, (days,), {"emails": emails}, ()), wait_below="30s")
    >>> frame[["slots", "erlang_c", "determined"]].to_numpy().tolist()
    [[4, 5, True]]

    References
    ----------
    Kiefer & Wolfowitz 1955, *On the theory of queues with many servers*; Schmeiser 1982, *Batch
    size effects in the analysis of simulation output* (the interval); Erlang 1917.

    """
    question = question_of(
        wait_below=wait_below,
        quantile=quantile,
        traffic=traffic,
        service=service,
        utilisation_below=utilisation_below,
        clear_within=clear_within,
    )
    demand = demand_of(history, since, until)
    solvers = (PoolSolver(pool, demand, question) for pool in pools_of(demand))
    return solutions(demand, solvers)


def solutions(demand: Demand, solvers: Iterable[PoolSolver]) -> pd.DataFrame:
    """Return the answers of *solvers*, each of a pool of *demand* (schema `SOLUTIONS`)."""
    pools: list[list[str]] = []
    rows: dict[str, list[Any]] = {}
    topics_of: dict[str, list[str]] = {}
    for solver in solvers:
        answer = answer_of(solver)
        pools.append(list(solver.pool.topics))
        shared = hoarding_note(answer, solver)
        for each in answer.answers:
            notes = notes_of(each, answer, solver, shared)
            rows[each.topic] = [*_row(each, answer, solver), "; ".join(notes) or None]
            for note in notes:
                topics_of.setdefault(note, []).append(each.topic)
    return frame_from(
        SOLUTIONS,
        [rows[name] for name in sorted(rows)],
        pools=[topics for topics in pools if len(topics) > 1],
        notes=[*_notes(demand), *(f"{', '.join(names)}: {n}" for n, names in topics_of.items())],
        **demand.label,
    )


def demand_of(history: Cluster | Demand, since: Moment, until: Moment | None) -> Demand:
    """Return the demand of *history* between *since* and *until*. A `Demand` is returned as it is,
    and allows neither."""
    if isinstance(history, Demand):
        if since != _SINCE or until is not None:
            raise ValueError(
                "since and until choose what is read of a cluster, and a demand is read already; "
                "nothing was computed. Give them to tasktools.capacity.inputs()."
            )
        return with_hours(history)
    return gather(history, since=since, until=until)


def _row(answer: Answer, pool: PoolAnswer, solver: PoolSolver) -> list[Any]:
    """Return the values of a row, without the note."""
    load, need, unit = answer.load, answer.need, answer.unit
    capacity = pool.pool.capacity
    needed = [None] * 3 if need is None else [need.value, need.low, need.high]
    slots = [None if value is None or math.isinf(value) else value * unit for value in needed]
    consumers = [w for w in pool.pool.workers if answer.topic in w.topics]
    wait = answer.wait or (None, None, None)
    return [
        answer.topic,
        load.count if load else len(solver.demand.topics[answer.topic].arrivals),
        load.mean if load else None,
        load.week.peak if load else None,
        sum(worker.capacity for worker in consumers) if consumers else None,
        answer.slots,
        *slots,
        capacity,
        *(
            _workers(value, pool)
            for value in (
                None if answer.slots is None else pool.units,
                *(pool.limits if need is not None else (None, None)),
            )
        ),
        *(None if value is None or math.isinf(value) else value for value in wait),
        answer.utilisation,
        answer.erlang_c,
        pool.method if load else None,
        answer.fit,
        answer.determined(solver.demand) if need is not None else None,
    ]


def _workers(units: int | None, pool: PoolAnswer) -> int | None:
    """Return the number of workers that *units* slots or workers need; `None` if they are
    unknown."""
    capacity = pool.pool.capacity
    if units is None or capacity is None:
        return None
    return units if pool.method == "events" else math.ceil(units / capacity)


def _notes(demand: Demand) -> Iterator[str]:
    by_balance = sorted(
        name for name, topic in demand.topics.items() if topic.arrivals_from == "balance"
    )
    if by_balance:
        yield (
            f"arrivals of {', '.join(by_balance)} are the balance of starts and queue lengths: a "
            "recorder with messages=True has each of them"
        )
