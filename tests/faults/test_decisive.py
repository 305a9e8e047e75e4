"""The rules on facts that were gathered while faults were injected (`make faults` keeps them)."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.diagnosis import ranking
from tests.faults import decisive, registry
from tests.faults.decisive import Decisive
from tests.faults.judging import Seen, is_silent, without_management

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


@pytest.mark.parametrize("run", runs(of_faults=True))
def test_without_the_management_api_nothing_is_called_clear(run: Decisive) -> None:
    facts = (without_management(run.before), without_management(run.facts))
    seen = Seen(seconds=0.0, rows=ranking.judge(*facts).rows)
    assert not is_silent(seen, FAULTS[run.fault].expect)


@pytest.mark.parametrize("run", runs(of_faults=False))
def test_nothing_is_found_in_a_healthy_cluster_or_without_enough_evidence(run: Decisive) -> None:
    rows = ranking.judge(run.before, run.facts).rows
    assert [row.finding for row in rows if row.verdict == "found"] == []
