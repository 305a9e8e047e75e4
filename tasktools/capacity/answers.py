"""The answer for the topics of a pool: needs, waits, and how sure they are."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasktools.capacity import erlang
from tasktools.capacity.demand import Demand
from tasktools.capacity.hour_of_week import DAY
from tasktools.capacity.load_by_hour import slots_to_clear
from tasktools.capacity.models import (
    Checkpoint,
    Method,
    Model,
    Pool,
    PoolModel,
    TraceModel,
    guess_of,
    joined_tasks,
    needs_events,
    simulated_span,
)
from tasktools.capacity.need import MAX_UNITS, Need, OutOfReach
from tasktools.capacity.pools import PoolTopic
from tasktools.capacity.quality import MIN_SERVICES, MIN_TRIES
from tasktools.capacity.question import Question
from tasktools.capacity.share_interval import wait_interval
from tasktools.capacity.simulation import wait_quantile
from tasktools.capacity.topic_loads import Load, joint_week, load_of, recorded_seconds
from tasktools.core.plurals import counted

_MAX_WIDTH = 2.0
_MIN_DAYS = 2.0
_MIN_LATE = 2  # tasks that may be late: of fewer the share is unknown
_MIN_WAIT = 2.0  # seconds: shorter ones are not recorded exactly


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one topic."""

    topic: str
    load: Load | None
    slots: int | None = None
    need: Need | None = None
    unit: float = 1.0
    """The mean number of slots of a unit of `need`."""
    wait: tuple[float, float, float] | None = None
    utilisation: float | None = None
    erlang_c: int | None = None
    fit: float | None = None

    def determined(self, demand: Demand) -> bool:
        """Return whether the need is known to one unit up or down."""
        if self.need is None or self.load is None or self.need.width > _MAX_WIDTH:
            return False
        longest = max((until - since for since, until in demand.recorded), default=0.0)
        are_services_known = (
            len(demand.topics[self.topic].service_times) >= MIN_TRIES
            and longest >= MIN_SERVICES * self.load.service
        )
        return are_services_known and recorded_seconds(demand) >= _MIN_DAYS * DAY


@dataclass(frozen=True, slots=True)
class PoolAnswer:
    """The answers for the topics of a pool, and the data and assumptions behind them."""

    pool: Pool
    method: Method
    answers: tuple[Answer, ...]
    units: int | None
    one_queue: int | None = None
    """Units that would meet the target for waits if a single queue fed all workers."""
    by_wait: int | None = None
    """Units that the target for waits takes."""
    limits: tuple[int | None, int | None] = (None, None)
    """Units that all targets take at the lower and the upper limits of the needs' intervals."""
    out_of_reach: Mapping[str, str] = field(default_factory=dict)


class PoolSolver:
    """Loads and model of a pool, for any number of questions about units."""

    def __init__(
        self,
        pool: Pool,
        demand: Demand,
        question: Question,
        checkpoint: Checkpoint = lambda: None,
    ) -> None:
        self.pool, self.demand, self.question = pool, demand, question
        self._checkpoint = checkpoint
        each = ((name, load_of(demand.topics[name], demand, question)) for name in pool.topics)
        self.loads = {name: load for name, load in each if load is not None}
        self._wait_below = math.inf if question.wait_below is None else question.wait_below
        topics = {name: load.topic for name, load in self.loads.items()}
        method: Method = "events" if needs_events(pool, topics) else "trace"
        self._span = simulated_span(demand, [load.tasks for load in self.loads.values()], method)
        self.model = self._model(method) if self.loads else None

    def _model(self, method: Method) -> Model:
        return self.pool_model() if method == "events" else self.one_queue()

    def pool_model(self, prefetch: int | None = None) -> PoolModel:
        """Return the model of the pool, as it is or with another *prefetch*."""
        topics = {
            name: PoolTopic(load.tasks, load.topic.limit) for name, load in self.loads.items()
        }
        load = sum(each.mean for each in self.loads.values())
        return PoolModel(
            self.pool, topics, self._span, self._wait_below, load, self._checkpoint, prefetch
        )

    def one_queue(self, name: str | None = None) -> TraceModel:
        """Return the model of all topics, or of one, as a single queue that all slots serve."""
        loads = [self.loads[name]] if name else list(self.loads.values())
        tasks = joined_tasks([load.tasks for load in loads])
        return TraceModel(tasks, self._span, self._wait_below, self._checkpoint)

    def guess(self, *names: str) -> int:
        """Return a guess of slots for the topics."""
        return guess_of(sum(self.loads[name].mean for name in names or self.loads))

    def guess_by_formula(self) -> int:
        """Return the slots by Erlang's formula for a single topic, or a guess for several."""
        if len(self.loads) > 1 or self.question.wait_below is None:
            return self.guess()
        (load,) = self.loads.values()
        by_formula = _by_formula(load, self.question)
        return self.guess() if by_formula is None else max(by_formula, 1)

    def one_queue_slots(self, name: str | None = None) -> int:
        """Return the slots that one queue needs for the wait; may raise `OutOfReach`."""
        late = self.one_queue(name).late("")
        guess = self.guess(*((name,) if name else ()))
        return late.least(guess, self.question.quantile)


def _by_formula(load: Load, question: Question) -> int | None:
    if question.wait_below is None or not len(load.week.hours):
        return None
    try:
        return slots_by_formula(load, question.wait_below, question.quantile)
    except OutOfReach:
        return None


def slots_by_formula(load: Load, wait_below: float, quantile: float) -> int:
    """Return the slots by Erlang's formula, hour by hour."""
    week = load.week
    if week.loads.max(initial=0.0) > MAX_UNITS:
        raise OutOfReach(f"More than {MAX_UNITS:,} are not tried.")
    return erlang.slots_needed(week.loads, week.tasks, load.service, wait_below, quantile)


def answer_of(solver: PoolSolver) -> PoolAnswer:
    """Return the answers for the topics of the solver's pool."""
    pool, question, model = solver.pool, solver.question, solver.model
    if model is None:
        rows = tuple(Answer(name, None) for name in pool.topics)
        return PoolAnswer(pool, "trace", rows, None)
    one_queue, guess = None, solver.guess_by_formula()
    if question.wait_below is not None and model.method == "events":
        with contextlib.suppress(OutOfReach):  # of too few tasks
            guess = one_queue = math.ceil(solver.one_queue_slots() / model.unit)
    needs, out_of_reach = _needs(solver, model, guess)
    by_wait = max((need.units for need in needs.values()), default=None)
    units, low, high = (
        _units(solver, model, None if value is None else math.ceil(min(value, MAX_UNITS)))
        for value in (
            by_wait,
            max((need.low for need in needs.values()), default=None),
            max((need.high for need in needs.values()), default=None),
        )
    )
    limits = (low, None if any(math.isinf(need.high) for need in needs.values()) else high)
    answers = tuple(_answer(solver, model, name, needs.get(name), units) for name in pool.topics)
    return PoolAnswer(pool, model.method, answers, units, one_queue, by_wait, limits, out_of_reach)


def _needs(solver: PoolSolver, model: Model, guess: int) -> tuple[dict[str, Need], dict[str, str]]:
    """Return the need of each topic, or the reason why it has none."""
    needs: dict[str, Need] = {}
    out_of_reach: dict[str, str] = {}
    question = solver.question
    if question.wait_below is None:
        return needs, out_of_reach
    for name in solver.loads:
        tasks, least = len(model.times(name)), math.ceil(_MIN_LATE / (1 - question.quantile))
        if tasks < least:
            out_of_reach[name] = (
                f"{counted(tasks, 'task', 'are')} too few; an estimate takes {least:,}"
            )
            continue
        limit = solver.demand.topics[name].limit
        if limit is not None:
            enough = solver.one_queue_slots(name)
            if enough > limit:
                out_of_reach[name] = (
                    f"no number of workers is enough: its limit of {limit} is too small, "
                    f"{enough} would do"
                )
                continue
        try:
            needs[name] = model.late(name).need(guess, question.quantile)
        except OutOfReach:
            out_of_reach[name] = (
                f"not even {model.most} {'workers' if model.method == 'events' else 'slots'} are "
                "enough"
            )
    return needs, out_of_reach


def _units(solver: PoolSolver, model: Model, by_wait: int | None) -> int | None:
    """Return the units that all targets together need; `None` if none is within reach."""
    question, week = solver.question, joint_week(solver.loads)
    asked = [] if by_wait is None else [by_wait]
    is_by_hour = question.utilisation_below is not None or question.clear_within is not None
    if is_by_hour and week.peak is None:
        return None  # of no hour enough was recorded
    if question.utilisation_below is not None and week.peak is not None:
        asked.append(math.ceil(week.peak / question.utilisation_below / model.unit))
    if question.clear_within is not None:
        asked.append(math.ceil(slots_to_clear(week, question.clear_within) / model.unit))
    units = max(1, *asked) if asked else None
    return None if units is None or units > MAX_UNITS else units


def _answer(
    solver: PoolSolver, model: Model, name: str, need: Need | None, units: int | None
) -> Answer:
    load = solver.loads.get(name)
    if load is None:
        return Answer(name, None)
    slots = None if units is None else model.slots(units)
    question = solver.question
    by_formula = _by_formula(load, question)
    if units is None or slots is None:
        return Answer(name, load, unit=model.unit, erlang_c=by_formula)
    waits = model.waits(name, units)
    return Answer(
        name,
        load,
        slots,
        need,
        model.unit,
        wait_interval(waits, model.blocks(name), question.quantile) if len(waits) else None,
        min(sum(each.mean for each in solver.loads.values()) / slots, 1.0),
        by_formula,
        _fit(solver, model, name),
    )


def _fit(solver: PoolSolver, model: Model, name: str) -> float | None:
    """Return the simulated wait with the recorded workers, divided by the recorded wait."""
    recorded, question = solver.demand.topics[name].waits, solver.question
    slots, workers = solver.pool.slots, len(solver.pool.workers)
    if recorded is None or not len(recorded) or not slots:
        return None
    if question.traffic != 1 or question.service != 1:
        return None
    waits = model.waits(name, workers if model.method == "events" else slots)
    if not len(waits):
        return None
    simulated = wait_quantile(waits, question.quantile)
    was = wait_quantile(recorded, question.quantile)
    return max(simulated, _MIN_WAIT) / max(was, _MIN_WAIT)
