"""Ten kinds of drains, none of which is of the forecast's own model, and how its bands hold.

``python -m tests.capacity.drains 40 5000`` runs 400 of them, from seed 5000 on, and writes the
result into benchmarks/CAPACITY.md.
"""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from tasktools.capacity.demand import FloatArray
from tasktools.capacity.drain.bins import Bins, Timing
from tasktools.capacity.drain.forecast import Forecast, forecast
from tasktools.capacity.drain.paths import SLOT_CHANGES
from tasktools.capacity.drain.scores import is_covered, pinball, quantile, rank
from tests.capacity.page import write_section

STEP: Final = 5.0  # seconds
TIMING: Final = Timing()
LEVEL: Final = 10.0
PARTS: Final = (0.0, 0.25, 0.5, 0.75)
"""A drain is forecast at these parts of its true length."""
_PAST: Final = int(TIMING.window / STEP)
_PER_BIN: Final = int(TIMING.bin / STEP)
_DAY: Final = 86_400.0

Rng = np.random.Generator
Rate = Callable[[float], float]


@dataclass
class Scenario:
    """What a drain is made of: rates a second at a time from its start, which is 0."""

    backlog: float
    arrivals: Rate
    slots: Callable[[float], float]
    speed: Rate  # tasks a second and slot
    failing: float = 0.0  # share of tries that come back
    shape: Rate = field(default=lambda _at: 1.0)


@dataclass(frozen=True)
class Drain:
    """A queue by steps of `STEP`; step `_PAST` is where forecasts begin."""

    kind: str
    depth: FloatArray
    arrivals: FloatArray
    completions: FloatArray
    slots: FloatArray
    shape: Rate

    def ends_after(self, step: int) -> float:
        """Return the seconds from *step* until the queue is at the level, infinite beyond 6 h."""
        ahead = self.depth[step : step + int(TIMING.horizon / STEP) + 1]
        there = np.flatnonzero(ahead <= LEVEL)
        if not len(there) or there[0] == 0:
            return 0.0 if len(there) else math.inf
        before, after = ahead[there[0] - 1], ahead[there[0]]
        return STEP * float(there[0] - 1 + (before - LEVEL) / (before - after))

    def bins_at(self, step: int) -> Bins:
        """Return what a forecast at *step* can know."""
        past = slice(step - _PAST, step)
        length = (-1, _PER_BIN)
        at = (step - _PAST) * STEP
        now = self.shape(at)
        spans = TIMING.bin * (np.arange(-TIMING.past, TIMING.ahead) + 0.5)
        shape = np.array([self.shape(at + span) for span in spans]) / now
        return Bins(
            depth=float(self.depth[step]),
            completions=self.completions[past].reshape(length).sum(axis=1),
            arrivals=self.arrivals[past].reshape(length).sum(axis=1),
            slots=self.slots[past].reshape(length)[:, -1].copy(),
            is_busy=np.all(self.depth[past].reshape(length) > 0, axis=1),
            shape=shape[: TIMING.past],
            shape_ahead=shape[TIMING.past :],
        )

    def moments(self) -> list[int]:
        """Return the steps at which it is forecast."""
        length = min(self.ends_after(_PAST), TIMING.horizon)
        return [_PAST + int(part * length / STEP) for part in PARTS]


def run(kind: str, scenario: Scenario, rng: Rng) -> Drain:
    """Return the drain that *scenario* makes, long enough for a forecast at its end."""
    steps = _PAST + int((1 + PARTS[-1]) * TIMING.horizon / STEP) + 2
    depth, arrived, done, slots = (np.zeros(steps) for _ in range(4))
    waiting = scenario.backlog
    retries: list[float] = []
    for step in range(steps):
        at = (step - _PAST) * STEP
        depth[step], slots[step] = waiting, scenario.slots(at)
        coming = float(rng.poisson(scenario.arrivals(at) * STEP))
        while retries and retries[0] <= at:
            heapq.heappop(retries)
            coming += 1
        ending = float(rng.poisson(slots[step] * scenario.speed(at) * STEP))
        ending = min(ending, waiting + coming)
        for _ in range(rng.binomial(int(ending), scenario.failing) if scenario.failing else 0):
            heapq.heappush(retries, at + 60.0 * 2.0 ** rng.integers(3))
        arrived[step], done[step] = coming, ending
        waiting += coming - ending
        if step > _PAST and depth[step] <= 0:
            break
    end = step + 1
    return Drain(kind, depth[:end], arrived[:end], done[:end], slots[:end], scenario.shape)


def _constant(value: float) -> Rate:
    return lambda _at: value


def _jump(before: float, after: float, at: float) -> Rate:
    return lambda now: before if now < at else after


def _wandering(rng: Rng, deviation: float, memory: float) -> Rate:
    """Return a factor that wanders about 1, forgetting itself in *memory* seconds."""
    count = int(14 * 3600 / STEP)
    decay = math.exp(-STEP / memory)
    noise = rng.standard_normal(count) * deviation * math.sqrt(1 - decay**2)
    value = deviation * rng.standard_normal()
    values = np.empty(count)
    for n in range(count):
        value = decay * value + noise[n]
        values[n] = math.exp(value - deviation**2 / 2)
    return lambda at: float(values[int((at + TIMING.window) / STEP) % count])


def _switching(rng: Rng) -> Rate:
    """Return a factor that is 2.5 for some 4 min, then 0.25 for some 8."""
    ends, factors, at, is_on = [], [], -TIMING.window, bool(rng.random() < 1 / 3)
    while at < 12 * 3600:
        at += rng.exponential(240.0 if is_on else 480.0)
        ends.append(at)
        factors.append(2.5 if is_on else 0.25)
        is_on = not is_on
    return lambda now: factors[min(int(np.searchsorted(ends, now)), len(factors) - 1)]


@dataclass(frozen=True)
class _Basis:
    """The numbers of a drain, and how it would be if nothing happened."""

    slots: float
    capacity: float  # tasks a second, of all slots
    load: float  # arrivals over capacity
    length: float  # seconds
    backlog: float
    plain: Scenario


def _basis(kind: str, rng: Rng) -> _Basis:
    slots = float(rng.integers(4, 41))
    capacity = math.exp(rng.uniform(math.log(0.3), math.log(20.0)))
    low, high = {"near critical": (0.93, 0.99), "never ends": (1.03, 1.4)}.get(kind, (0.3, 0.85))
    load = rng.uniform(low, high)
    length = math.exp(rng.uniform(math.log(600.0), math.log(9000.0)))
    failing = rng.uniform(0.15, 0.4) if kind == "retry storm" else 0.0
    load *= 0.6 if failing else 1.0
    net = abs(1 - load - failing) * capacity
    length = max(length, 60 / net)
    backlog = max(net * length, 60.0)
    plain = Scenario(
        backlog=backlog + (net * TIMING.window if load < 1 else 0),
        arrivals=_constant(load * capacity),
        slots=_constant(slots),
        speed=_constant(capacity / slots),
        failing=failing,
    )
    return _Basis(slots, capacity, load, length, backlog, plain)


def _noisy(basis: _Basis, rng: Rng) -> Scenario:
    slow, fast = _wandering(rng, 0.25, 300.0), _wandering(rng, 0.15, 600.0)
    return replace(
        basis.plain,
        arrivals=lambda at: basis.load * basis.capacity * slow(at),
        speed=lambda at: basis.capacity / basis.slots * fast(at),
    )


def _bursty(basis: _Basis, rng: Rng) -> Scenario:
    factor = _switching(rng)
    return replace(basis.plain, arrivals=lambda at: basis.load * basis.capacity * factor(at))


def _turn(basis: _Basis, rng: Rng) -> float:
    """Return when something happens that nobody can foresee."""
    return rng.uniform(0.05, 0.8) * basis.length


def _workers_come(basis: _Basis, rng: Rng) -> Scenario:
    more = math.ceil(basis.slots * rng.uniform(1.3, 2.2))
    return replace(basis.plain, slots=_jump(basis.slots, more, _turn(basis, rng)))


def _workers_go(basis: _Basis, rng: Rng) -> Scenario:
    fewer = max(math.floor(basis.slots * rng.uniform(0.5, 0.8)), 1.0)
    return replace(basis.plain, slots=_jump(basis.slots, fewer, _turn(basis, rng)))


def _daily_rise(basis: _Basis, rng: Rng) -> Scenario:
    phase, swing = rng.uniform(-0.25, 0.0) * _DAY, rng.uniform(0.3, 0.6)

    def shape(at: float) -> float:
        return 1 + swing * math.sin(2 * math.pi * (at + phase) / _DAY)

    start = basis.load * basis.capacity / shape(0.0)
    return replace(basis.plain, arrivals=lambda at: start * shape(at), shape=shape)


def _second_wave(basis: _Basis, rng: Rng) -> Scenario:
    wave, turn = basis.backlog * rng.uniform(0.2, 0.8) / 300.0, _turn(basis, rng)
    usual = basis.load * basis.capacity
    return replace(
        basis.plain, arrivals=lambda at: usual + (wave if 0 <= at - turn < 300.0 else 0.0)
    )


_CHANGES: Final = {
    "noisy": _noisy,
    "bursty": _bursty,
    "workers come": _workers_come,
    "workers go": _workers_go,
    "daily rise": _daily_rise,
    "second wave": _second_wave,
}


def scenario_of(kind: str, rng: Rng) -> Scenario:
    """Return a drain of that *kind*, with its own rates and length."""
    basis = _basis(kind, rng)
    change = _CHANGES.get(kind)
    return basis.plain if change is None else change(basis, rng)


KINDS: Final = (
    *("steady", "noisy", "bursty", "workers come", "workers go"),
    *("daily rise", "never ends", "near critical", "second wave", "retry storm"),
)


@dataclass(frozen=True)
class Scored:
    """A forecast, and what came."""

    kind: str
    is_first: bool
    forecast: Forecast
    truth: float
    loss: float
    plain_loss: float

    @property
    def is_covered(self) -> bool:
        """Whether the truth was in the band."""
        return is_covered(self.forecast.earliest, self.forecast.latest, self.truth)


def score(
    seeds: int,
    first_seed: int,
    *,
    recalibrates: bool = True,
    slot_changes: float = SLOT_CHANGES,
    cut: float = 1.0,
) -> Iterator[Scored]:
    """Yield the forecasts of *seeds* drains of each kind, in random order, each with what came.

    *cut* < 1 is a wrong model: times are drawn towards their median by that factor, in the log.
    """
    order = np.random.default_rng(first_seed)
    drains = [(kind, first_seed + n) for kind in KINDS for n in range(seeds)]
    order.shuffle(drains)
    ranks: list[float] = []
    for kind, seed in drains:
        rng = np.random.default_rng([int(seed), KINDS.index(str(kind))])
        drain = run(str(kind), scenario_of(str(kind), rng), rng)
        ended: list[float] = []
        for n, step in enumerate(drain.moments()):
            bins = drain.bins_at(step)
            if bins.depth <= LEVEL:
                continue
            made = forecast(bins, LEVEL, TIMING, ranks, rng, slot_changes=slot_changes)
            assert made is not None
            if cut < 1:
                made = _narrowed(made, cut)
            truth = drain.ends_after(step)
            if recalibrates:
                ended.append(rank(made.times, truth, rng.random()))
            net = max(made.completions - made.arrivals, 1e-9)
            plain = min((made.depth - LEVEL) / net, TIMING.horizon)
            yield Scored(
                str(kind),
                n == 0,
                made,
                truth,
                pinball(made.shown, truth, TIMING.horizon),
                pinball((plain,) * 3, truth, TIMING.horizon),
            )
        ranks += ended


def _narrowed(made: Forecast, cut: float) -> Forecast:
    with np.errstate(invalid="ignore"):
        logs = np.log(np.minimum(made.times, 10 * TIMING.horizon))
        middle = float(np.median(logs))
        times = np.exp(middle + cut * (logs - middle))
    times[times >= TIMING.horizon] = math.inf
    early, middle, late = (quantile(times, level) for level in made.shown_levels)
    return replace(made, times=times, earliest=early, expected=middle, latest=late)


def covered(scored: list[Scored]) -> float:
    """Return the share of forecasts whose band held the truth."""
    return float(np.mean([each.is_covered for each in scored]))


def _share(scored: list[Scored], low: float, high: float) -> str:
    """Return for how many forecasts with that probability of no end there was none."""
    cases = [each for each in scored if low <= each.forecast.not_within < high]
    right = sum(math.isinf(each.truth) for each in cases)
    return f"{right} of {len(cases)} ({right / max(len(cases), 1):.0%})"


def section(seeds: int, first_seed: int) -> str:
    """Run the forecasts of *seeds* drains of each kind; return them as a section of the page."""
    began = time.process_time()
    raw = list(score(seeds, first_seed, recalibrates=False))
    spent = (time.process_time() - began) / len(raw)
    learned = list(score(seeds, first_seed))
    wrong = [
        list(score(seeds, first_seed, recalibrates=learns, slot_changes=0.0, cut=0.6))
        for learns in (False, True)
    ]
    finite = [each.forecast for each in learned if math.isfinite(each.forecast.latest)]
    ratio = float(np.median([each.latest / max(each.earliest, 1.0) for each in finite]))
    rows = [
        f"| {kind} | {len(mine)} | {covered(of_kind(raw, kind)):.0%} | {covered(mine):.0%} |"
        for kind in KINDS
        for mine in [of_kind(learned, kind)]
    ]
    first = [each for each in learned if each.is_first]
    late = wrong[1][len(wrong[1]) // 2 :]
    return "\n".join(
        [
            f"{seeds * len(KINDS)} drains of ten kinds (seeds {first_seed} to "
            f"{first_seed + seeds - 1}), {len(raw)} forecasts: at the start and after a quarter, a "
            "half and three quarters of the true time to the end, in random order. The 80 % band "
            "held the truth in:",
            "",
            "| kind | forecasts | raw | recalibrated |",
            "| --- | --- | --- | --- |",
            *rows,
            f"| **all** | {len(learned)} | {covered(raw):.0%} | **{covered(learned):.0%}** |",
            "",
            f"First forecast of each drain: {covered(first):.0%}. Latest over earliest: "
            f"{ratio:.1f} in the median. Pinball loss (log of time): {_mean_loss(raw):.3f} raw, "
            f"{_mean_loss(learned):.3f} recalibrated; depth over the net rate of now: "
            f"{float(np.mean([each.plain_loss for each in learned])):.3f}. "
            f'"Will not end" (90 % of paths) was right in {_share(learned, 0.9, 2)}, '
            f'"may not end" (50 to 90 %) in {_share(learned, 0.5, 0.9)}. A wrong model '
            f"(times drawn together to 60 %, no changes of slots): {covered(wrong[0]):.0%} "
            "raw, "
            f"{covered(wrong[1]):.0%} recalibrated, {covered(late):.0%} in the second half. "
            f"{1000 * spent:.0f} ms a forecast, with the drain that it is of.",
        ]
    )


def of_kind(scored: list[Scored], kind: str) -> list[Scored]:
    """Return the forecasts of drains of that *kind*."""
    return [each for each in scored if each.kind == kind]


def _mean_loss(scored: list[Scored]) -> float:
    return float(np.mean([each.loss for each in scored]))


if __name__ == "__main__":
    text = section(int(sys.argv[1]), int(sys.argv[2]))
    write_section("Drain forecasts of ten kinds", text)
    print(text)
