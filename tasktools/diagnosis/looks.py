"""Looks at a cluster: its facts, judged together with those of the look before."""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.known_workers import ONE_HEARTBEAT
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.gather import gather
from tasktools.diagnosis.ranking import Ranking, judge
from tasktools.diagnosis.waiting_dead_letters import left_behind

_MIN_SECONDS_APART: Final = 4.5
"""Seconds after which a second look tells whether a condition lasts: 5, but for inexact timers."""
_MAX_SECONDS_APART: Final = 60.0
"""Two looks that are further apart may show two conditions that are alike."""


class Diagnosis(NamedTuple):
    """The rows that the rules made of *facts*, and in words the dead letters that wait for a
    decision; secrets are masked."""

    rows: tuple[Row, ...]
    facts: Facts
    left_behind: str | None


class _Looks:
    """The latest look at a cluster, and an earlier one from some seconds before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Facts | None = None
        self._before: Facts | None = None

    def add(self, facts: Facts) -> Facts | None:
        """Add a look; return the earlier look to compare it with, if there is one."""
        with self._lock:
            latest = self._latest
            if latest is None or not 0 <= facts.at - latest.at < _MIN_SECONDS_APART:
                self._latest, self._before = facts, latest
            before = self._before
        is_usable = before is not None and (
            _MIN_SECONDS_APART <= facts.at - before.at <= _MAX_SECONDS_APART
        )
        return before if is_usable else None


_looks: MutableMapping[Cluster, _Looks] = WeakKeyDictionary()


def look(cluster: Cluster, *, settle: float, wait: float = ONE_HEARTBEAT) -> Diagnosis:
    """Judge *cluster* now, or at the moment of its recording.

    Conditions that must last are compared with the look before, if that was a few seconds ago; else
    a second look after *settle* seconds follows, if it could change a verdict. Waits up to *wait*
    seconds for the workers' first heartbeats.
    """
    if cluster.is_recorded:
        return _look_at_recording(cluster)
    looks = _looks.setdefault(cluster, _Looks())
    facts = gather(cluster, settle=wait)
    before = looks.add(facts)
    ranking = judge(facts) if before is None else judge(before, facts)
    if ranking.wants_second_look and settle > 0:
        cluster.clock.sleep(settle)
        second = gather(cluster, settle=0.0)
        looks.add(second)
        ranking, facts = judge(facts, second), second
    return _masked(ranking, facts, cluster)


def _look_at_recording(cluster: Cluster) -> Diagnosis:
    """Judge a recording by its samples; samples from some seconds before are the earlier look."""
    facts = gather(cluster)
    ranking = judge(facts)
    if ranking.wants_second_look:
        with cluster.observed() as observation:
            before = observation.recent.tick_before(_MIN_SECONDS_APART)
        if before is not None:
            ranking = judge(gather(cluster.at(moment(before))), facts)
    return _masked(ranking, facts, cluster)


def _masked(ranking: Ranking, facts: Facts, cluster: Cluster) -> Diagnosis:
    left = left_behind(facts)
    return Diagnosis(
        tuple(row.masked(cluster.redaction) for row in ranking.rows),
        facts,
        None if left is None else cluster.redaction.text(left),
    )
