"""Histograms of heartbeats: what is believed of them, and which topic they belong to."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tasktools.core import duration_histogram as durations
from tasktools.core import events
from tasktools.core.cluster_view import ClusterView
from tasktools.core.duration_histogram import Histogram, NamesToTopics
from tasktools.core.models import Source
from tasktools.testing import peer_heartbeat

BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
T = 1_800_000_000.0


def histogram_json(taken: list[float], *, release: str = "0.3.318") -> dict[str, Any]:
    """Return the histogram that a peer makes of *taken*."""
    counts = [sum(seconds <= bound for seconds in taken) for bound in BOUNDS]
    if release == "0.3.318":  # adds up what is added up
        counts = [sum(counts[: n + 1]) for n in range(len(counts))]
    buckets = [list(pair) for pair in zip(BOUNDS, counts, strict=True)]
    return {"buckets": buckets, "sum": sum(taken), "count": len(taken)}


@pytest.mark.parametrize("release", ["0.3.318", "mended"])
def test_each_bucket_holds_what_was_in_it(release: str) -> None:
    taken = [random.Random(n).choice([0.004, 0.2, 0.3, 7.0]) for n in range(50)]
    (histogram,) = durations.parse(
        {"send:success": histogram_json(taken, release=release)}
    ).values()
    assert histogram.count == 50
    assert histogram.sum == pytest.approx(sum(taken))
    assert histogram.buckets == {
        bound: taken.count(seconds)
        for bound, seconds in ((0.01, 0.004), (0.25, 0.2), (0.5, 0.3), (10, 7.0))
    }


def test_what_is_longer_than_every_bucket_has_no_bound() -> None:
    (histogram,) = durations.parse({"send:success": histogram_json([0.2, 400.0])}).values()
    assert (histogram.at_most(0.5), histogram.at_most(0.95)) == (0.25, None)


def test_buckets_that_fit_no_release_are_not_believed() -> None:
    lie = histogram_json([0.2]) | {"buckets": [[0.1, 5], [0.2, 3], [0.3, 9]]}
    assert durations.parse({"send:success": lie}) == {"send": Histogram(1, 0.2)}


@pytest.mark.parametrize(
    "junk",
    [None, [], {"a:b": None}, {"a:b": {"count": -1, "sum": 1}}, {"a:b": {"count": 1, "sum": "x"}}],
)
def test_junk_is_no_histogram(junk: Any) -> None:
    assert durations.parse(junk) == {}


def test_outcomes_count_together() -> None:
    both = durations.parse(
        {"a:b:success": histogram_json([1.0]), "a:b:failed": histogram_json([3.0])}
    )
    assert (both["a:b"].count, both["a:b"].sum) == (2, 4.0)


def test_names_of_more_than_one_topic_tell_of_none() -> None:
    names = NamesToTopics()
    histograms = {"send": Histogram(2, 1.0)}
    assert names.by_topic(histograms, {"emails": 2, "reports": 1}) == {}
    names.saw("send", "emails")
    assert names.by_topic(histograms, {"emails": 2, "reports": 1}) == {"emails": histograms["send"]}
    names.saw("send", "reports")
    assert names.by_topic(histograms, {"emails": 2, "reports": 1}) == {}
    assert names.by_topic(histograms, {"reports": 2}) == {"reports": histograms["send"]}


def test_the_topic_of_short_tasks_is_what_the_others_leave_over() -> None:
    """A task of 0.2 s is seldom running when its worker beats, so no heartbeat lists it."""
    names = NamesToTopics()
    ended = {"send": Histogram(9, 1.0), "report": Histogram(2, 0.4)}
    assert names.by_topic(ended, {"emails": 9, "reports": 2}) == {}
    names.saw("send", "emails")
    assert names.by_topic(ended, {"emails": 10, "reports": 2}) == {}
    assert names.by_topic(ended, {"emails": 9, "reports": 1, "bills": 1}) == {}
    by_topic = {"emails": ended["send"], "reports": ended["report"]}
    assert names.by_topic(ended, {"emails": 9, "reports": 2}) == by_topic
    names.saw("send", "reports")
    assert names.by_topic(ended, {"emails": 9, "reports": 2}) == {}


class Story:
    def __init__(self) -> None:
        self.view = ClusterView()
        self.at = T

    def beat(self, taken: list[float], **worker: Any) -> None:
        telemetry = {
            "running": 0,
            "running_tasks": [],
            "completed_per_topic": {"emails": len(taken)},
            "duration_histograms": {"send:success": histogram_json(taken)},
        }
        self.at += 3
        meta = {"hb": {"telemetry": telemetry}}
        self.view.fold(self.at, events.parse(peer_heartbeat(at=self.at, meta=meta, **worker)))

    def durations(self) -> dict[str, Histogram]:
        return dict(self.view.state(self.at, Source(name="events", ok=True)).durations)


def test_the_difference_between_heartbeats_is_exact() -> None:
    """Issue 11, row 14: what ended before we listened is not counted, all else is."""
    story = Story()
    story.beat([9.0] * 5)
    assert story.durations() == {}
    story.beat([9.0] * 5 + [0.1, 0.2])
    (told_,) = story.durations().values()
    assert (told_.count, told_.buckets) == (2, {0.1: 1, 0.25: 1})
    assert told_.sum == pytest.approx(0.3)


def test_a_worker_started_anew_takes_nothing_away() -> None:
    story = Story()
    story.beat([1.0] * 5)
    story.beat([1.0] * 6)
    story.beat([2.0], started_at="2027-01-15T09:00:00+00:00")
    story.beat([2.0] * 3, started_at="2027-01-15T09:00:00+00:00")
    assert story.durations()["emails"].sum == pytest.approx(5.0)
