"""`diagnose` and `topic_states`: what is wrong with a cluster, and how its topics move."""

from __future__ import annotations

from typing import Final

import pandas as pd

from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.frames.table import sources_attr
from tasktools.core.timespans import Moment
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.findings_frame import Findings, findings_frame
from tasktools.diagnosis.gather import gather
from tasktools.diagnosis.looks import Diagnosis, look
from tasktools.diagnosis.summary import folded, headline, worst
from tasktools.diagnosis.topic_states import topic_states as states_of
from tasktools.diagnosis.topic_states import topic_states_frame

_SETTLE_SECONDS: Final = 5.0


def diagnose(
    cluster: Cluster, *, at: Moment | None = None, settle: float = _SETTLE_SECONDS
) -> pd.DataFrame:
    """Return what is wrong with *cluster*, the best explanation first, and what was ruled out.

    It changes nothing, and looks into no queue. A process that has just connected has only the last
    minute of the management API, if the user may read it; checks that need events of a longer time
    answer `cannot tell` at first. The first call waits as `Cluster.workers` does.

    Where at least 3 of the last 7 days are recorded, surges of publishers and service times are
    compared with the same time of those days: a nightly batch is no finding.

    Parameters
    ----------
    cluster
        The cluster, live or a recording.
    at
        In a recording: the moment that is judged, as ``"2h"`` before its end.
    settle
        Seconds after which a live cluster is examined again, for conditions that are findings only
        if they last. 0: never, so that these stay suspected.

    Returns
    -------
    pandas.DataFrame
        One row a hypothesis (schema `FINDINGS`): first what was found, causes above their symptoms,
        then suspected findings, checks that cannot tell, with the reason, and checks that were
        ruled out. A notebook shows the last two as one line, which is in ``attrs["summary"]``.

    Raises
    ------
    NotRecorded
        *at* was given, and this is a live cluster.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://?incident=hung_tasks") as cluster:
    ...     findings = tt.diagnose(cluster)
    >>> findings.loc[0, ["verdict", "check", "subject"]].tolist()
    ['found', 'workers_hung', 'images']

    """
    if at is not None:
        cluster = cluster.at(at)
    return frame_of(look(cluster, settle=settle), cluster)


def frame_of(diagnosis: Diagnosis, cluster: Cluster) -> pd.DataFrame:
    """Return the *diagnosis* of *cluster* as a frame (schema `FINDINGS`)."""
    frame = cluster.labelled(findings_frame(diagnosis.rows, diagnosis.facts))
    frame.attrs["notes"] += _notes(diagnosis.facts)
    frame.attrs["left_behind"] = diagnosis.left_behind
    if diagnosis.left_behind and worst(diagnosis.rows) is not None:
        frame.attrs["notes"].append(diagnosis.left_behind)
    frame.attrs["headline"] = headline(diagnosis.rows, diagnosis.left_behind)
    frame.attrs["summary"] = folded(diagnosis.rows)
    findings = Findings(frame)
    findings.attrs = frame.attrs
    return findings


def topic_states(cluster: Cluster, *, at: Moment | None = None) -> pd.DataFrame:
    """Return how each topic moves: stopped, stalled, falling behind, draining, steady or clear.

    A state is judged from a sliding window of 10 minutes (or of 40 samples, if that is longer),
    never from the depth of a queue. A window that is too short is `cannot tell`: call it again, or
    record the cluster.

    Parameters
    ----------
    cluster
        The cluster, live or a recording.
    at
        In a recording: the moment that is judged, as ``"2h"`` before its end.

    Returns
    -------
    pandas.DataFrame
        One row a topic (schema `TOPIC_STATES`).

    Raises
    ------
    NotRecorded
        *at* was given, and this is a live cluster.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     states = tt.topic_states(cluster)
    >>> len(states)
    6

    """
    if at is not None:
        cluster = cluster.at(at)
    facts = gather(cluster)
    frame = topic_states_frame(states_of(facts))
    frame.attrs["sources"] = sources_attr(facts.sources)
    frame.attrs["notes"] = [
        f"{source.name}: {source.note}" for source in facts.sources if source.note
    ]
    frame = cluster.labelled(frame)
    frame.attrs["notes"] += _notes(facts)
    return frame


def _notes(facts: Facts) -> list[str]:
    """Return in words since when events have been received."""
    if facts.heard_since is None:
        return []  # the source says why
    return [f"events were received from {moment(facts.heard_since):%Y-%m-%d %H:%M:%S} UTC on"]
