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

_MIN_SECONDS_APART: Final = 4.5
"""Seconds after which a second look tells whether a condition lasts: 5, but for inexact timers."""
_MAX_SECONDS_APART: Final = 60.0
"""Two looks that are further apart may show two conditions that are alike."""


class Diagnosis(NamedTuple):
    """The rows that the rules made of *facts*, with masked texts."""

    rows: tuple[Row, ...]
    facts: Facts


class _Looks:
    """The latest look at a cluster, and the latest of those before that lies some seconds back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Facts | None = None
        self._before: Facts | None = None

    def add(self, facts: Facts) -> Facts | None:
        """Add a look; return the one with which it shows what lasts, if there is one."""
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

    What must last is judged together with the look before, if that was a few seconds ago, else by a
    second look after *settle* seconds, if there is reason for it. Workers have *wait* seconds to
    speak for the first time.
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
    """Judge a recording by its samples: those of some seconds before are the look before."""
    facts = gather(cluster)
    ranking = judge(facts)
    if ranking.wants_second_look:
        with cluster.observed() as observation:
            before = observation.recent.tick_before(_MIN_SECONDS_APART)
        if before is not None:
            ranking = judge(gather(cluster.at(moment(before))), facts)
    return _masked(ranking, facts, cluster)


def _masked(ranking: Ranking, facts: Facts, cluster: Cluster) -> Diagnosis:
    return Diagnosis(tuple(row.masked(cluster.redaction) for row in ranking.rows), facts)
