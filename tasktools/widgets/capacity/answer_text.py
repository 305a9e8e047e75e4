"""The answer in words: how tasks wait, what is needed and how sure that is, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasktools.capacity.scenario import Outlook, Scenario
from tasktools.capacity.share_interval import Share
from tasktools.core.plurals import counted
from tasktools.core.timespans import in_words
from tasktools.widgets.capacity.facts import TopicFacts
from tasktools.widgets.capacity.state import CapacityState, Needed


def settings(outlook: Outlook) -> str:
    """Return the settings of *outlook*, in words."""
    return _settings(
        outlook.scenario, f"{outlook.scenario.topic}, {counted(outlook.slots, 'slot')}"
    )


def asked(scenario: Scenario, facts: TopicFacts) -> str:
    """Return the question of *scenario*, in words."""
    return _settings(scenario, f"{scenario.topic}, {counted(scenario.workers, facts.unit)}")


def _settings(scenario: Scenario, begin: str) -> str:
    parts = [begin]
    if scenario.limit is not None:
        parts.append(f"limit {scenario.limit:,}")
    for name, factor in (
        ("traffic", scenario.question.traffic),
        ("service time", scenario.question.service),
    ):
        if factor != 1:
            parts.append(f"{name} × {factor:.3g}")
    return ", ".join(parts)


def outlook_lines(outlook: Outlook, facts: TopicFacts) -> Iterator[str]:
    """Yield how tasks wait in *outlook*, and how busy its slots are."""
    scenario, question = outlook.scenario, outlook.scenario.question
    units = counted(scenario.workers, facts.unit)
    of_slots = "" if facts.workers is None else f" ({counted(outlook.slots, 'slot')})"
    begin = f"With {units}{of_slots}"
    target = in_words(question.wait_below or 0.0)
    if outlook.late is None:
        yield f"{begin} the wait is not known: too few tasks arrived."
    elif outlook.wait is None:
        yield f"{begin} some tasks of {scenario.topic} never begin."
    else:
        wait, late = outlook.wait, outlook.late
        verdict = _verdict(late, 1 - question.quantile)
        yield (
            f"{verdict} for {scenario.topic}: with {units}{of_slots} {percent(question.quantile)} "
            f"of its tasks wait {in_words(wait.value)} at most "
            f"({_from_to(in_words(wait.low), in_words(wait.high))}); "
            f"{percent(late.value)} wait over {target} ("
            f"{_from_to(percent(late.low), percent(late.high))})."
        )
    busy = outlook.load / outlook.slots
    together = f", with {', '.join(facts.mates)}," if facts.mates else ""
    if busy >= 1:
        yield (
            f"The load{together} is {outlook.load:.3g} busy slots, more than there are: the queue "
            "grows without end."
        )
        return
    yield f"The slots{together} are {percent(busy)} busy in the mean, {_at_peak(outlook)}."


def _at_peak(outlook: Outlook) -> str:
    if outlook.peak_load is None:
        return "in the busiest hour it is not known"
    peak = outlook.peak_load / outlook.slots
    if peak > 1:
        return f"in the busiest hour there is work for {peak:.3g} times as many"
    return f"{percent(peak)} in the busiest hour"


def need_lines(need: Needed, facts: TopicFacts) -> Iterator[str]:
    """Yield how many slots and workers are needed, and whether that is known to ±1."""
    row, question = need.row, need.scenario.question
    target = f"{percent(question.quantile)} wait {in_words(question.wait_below or 0.0)} at most"
    if pd.isna(row["need"]):
        yield f"How many are needed so that {target} is not known."
        return
    sure = "known to ±1" if row["determined"] else "NOT known to ±1"
    slots = _known(row["need"], row["need_low"], row["need_high"])
    alone = "" if not facts.mates else f" for {need.scenario.topic} alone"
    yield f"So that {target}, it needs {slots} slots{alone}; that is {sure}."
    if pd.isna(row["workers"]):
        yield f"That is {counted(int(row['slots']), 'slot')}; the number of workers is not known."
        return
    high = row["workers_high"]
    limits = (
        f"{int(row['workers_low'])} to {'not known' if pd.isna(high) else int(high)}, 90 %"
        if not pd.isna(row["workers_low"])
        else "interval not known"
    )
    shared = f" for {', '.join((need.scenario.topic, *facts.mates))} together" if alone else ""
    yield (
        f"That is {counted(int(row['workers']), 'worker')}{shared} ({limits}); "
        f"there were {facts.workers}. {_by_formula(row)}"
    )


def _by_formula(row: pd.Series[Any]) -> str:
    if pd.isna(row["erlang_c"]):
        return "The result of Erlang C is not known."
    return f"Erlang C, which assumes no bursts, gives {counted(int(row['erlang_c']), 'slot')}."


def cost_line(state: CapacityState) -> str:
    """Return the cost of the chosen and of the needed workers."""
    money = state.money
    unknown = _no_cost(state)
    if money is None or unknown:
        return f"Cost not known: {unknown}"
    workers, hours = state.workers, state.hours
    text = (
        f"{counted(workers, 'worker')} × {hours:,.6g} h × {state.price.strip()} = "
        f"{money.written(money.amount * workers * hours)}"
    )
    if state.need is None:
        return f"{text}."
    if pd.isna(state.need.row["workers"]):
        return f"{text}; the need is not known."
    needed = int(state.need.row["workers"])
    cost = money.written(money.amount * needed * hours)
    return f"{text}; the {counted(needed, 'worker')} needed: {cost}."


def _no_cost(state: CapacityState) -> str:
    """Return why no cost is known; empty: it is."""
    if state.price_problem:
        return state.price_problem
    if state.money is None:
        return "write the price of a worker-hour, as 0.12 €."
    if state.chosen is None or state.chosen.workers is None:
        return "no worker was recorded, so that only the number of slots is known."
    if not (state.hours > 0 and math.isfinite(state.hours)):
        return "the hours are no number above 0."
    return ""


def percent(share: float) -> str:
    """Return a share in percent, with few digits.

    >>> [percent(share) for share in (0.0001, 0.0123, 0.5, 0.95, 0.999)]
    ['under 0.1 %', '1.2 %', '50 %', '95 %', '99.9 %']
    """
    if 0 < share < 0.001:
        return "under 0.1 %"
    digits = 2 if share < 0.1 else 4 if share > 0.99 else 0
    return f"{share * 100:.{digits}g} %" if digits else f"{share * 100:.0f} %"


def _verdict(late: Share, allowed: float) -> str:
    if late.high <= allowed:
        return "Enough"
    return "NOT enough" if late.low > allowed else "Not sure to be enough"


def _from_to(low: str, high: str) -> str:
    return f"{low} to {high}" if low != high else f"{low} at both limits"


def _known(value: float, low: float, high: float) -> str:
    upper = "not known" if pd.isna(high) else f"{high:.1f}"
    return f"{value:.1f} ({low:.1f} to {upper}, 90 %)"
