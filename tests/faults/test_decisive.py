"""The rules on facts that were gathered while faults were injected (`make faults` keeps them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasktools.diagnosis import ranking
from tasktools.diagnosis.facts import Facts
from tests.faults import decisive, registry
from tests.faults.decisive import Decisive
from tests.faults.judging import Seen, untold, without_events, without_management

FAULTS = registry.load()
KEPT = list(decisive.read())


def runs(*, of_faults: bool) -> list[Any]:
    """Return the runs of faults, or all others, as parameters of a test."""
    chosen = [run for run in KEPT if (FAULTS[run.fault].kind == "fault") is of_faults]
    return [pytest.param(run, id=f"{run.fault}-{run.version}") for run in chosen]


@pytest.mark.parametrize("run", runs(of_faults=True))
def test_the_cause_is_in_the_first_two_rows(run: Decisive) -> None:
    seen = Seen(seconds=0.0, rows=ranking.judge(run.before, run.facts).rows)
    shown = [row.finding for row in seen.shown]
    assert seen.place(FAULTS[run.fault].expect) in (1, 2), shown


@pytest.mark.parametrize("take_away", [without_management, without_events])
@pytest.mark.parametrize("run", KEPT, ids=lambda run: f"{run.fault}-{run.version}")
def test_what_is_there_is_never_called_clear_without_a_source(
    run: Decisive, take_away: Callable[[Facts], Facts]
) -> None:
    shown = Seen(seconds=0.0, rows=ranking.judge(run.before, run.facts).rows).shown
    facts = (take_away(run.before), take_away(run.facts))
    rows = ranking.judge(*facts).rows
    clear = {row.check for row in rows if row.verdict == "ruled out"}
    assert clear.isdisjoint(row.check for row in shown)


@pytest.mark.parametrize("run", runs(of_faults=False))
def test_nothing_is_found_in_a_healthy_cluster_or_without_enough_evidence(run: Decisive) -> None:
    rows = ranking.judge(run.before, run.facts).rows
    assert [row.finding for row in rows if row.verdict == "found"] == []
    fault = FAULTS[run.fault]
    if fault.kind == "unclear":
        assert untold(Seen(seconds=0.0, rows=rows), fault) == ()
