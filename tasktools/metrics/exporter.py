"""The exporter: looks at a cluster every few seconds, and serves its latest values over HTTP.

A scrape never waits for the broker: it gets the values of the last look. A look that has not ended
in time counts as failed: ``tasktools_up`` is 0, and its values are absent.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Self

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import start_wsgi_server
from prometheus_client.registry import Collector

from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.diagnosis.looks import look
from tasktools.metrics.families import (
    FAMILIES,
    Labels,
    Reading,
    Samples,
    samples_of,
    topics_with_task_events,
)
from tasktools.metrics.families import samples_of_counts as of_counts
from tasktools.metrics.needed_workers import Needs
from tasktools.metrics.queue_heads import QueueHeads
from tasktools.metrics.task_counts import TaskCounts

_log = logging.getLogger("tasktools.metrics")

_END_SECONDS: Final = 2.0


class _Look(NamedTuple):
    """The last look: when it ended (by the monotonic clock), and its result."""

    ended: float
    is_up: bool = False
    samples: Samples = {}  # noqa: RUF012 - never changed


class Exporter(Collector):
    """The metrics of *cluster*, looked up *every* so many seconds while it is open.

    Values are served for twice that time plus *timeout* seconds without another look. *version* is
    the version of tasktools; *needs* adds the workers that are needed, by a recording.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        every: float,
        timeout: float,
        version: str,
        needs: Needs | None = None,
    ) -> None:
        self._cluster = cluster
        self._needs = needs
        self._every = every
        self._fresh_seconds = 2 * every + timeout
        self._info = (version, cluster.broker.layout.name, str(cluster.broker.demo).lower())
        self._counts = TaskCounts()
        self._heads = QueueHeads()
        self._topics: frozenset[str] = frozenset()
        self._last: _Look | None = None
        self._opened = time.monotonic()
        self._context = contextlib.ExitStack()
        self._end = threading.Event()
        self.problem: str | None = None
        """Why the broker could not be asked at the last look; `None`: it could."""

    def __enter__(self) -> Self:
        self._context.callback(self._cluster.broker.listen(self._counts.handle_event))
        thread = threading.Thread(target=self._run, name="tasktools-metrics", daemon=True)
        thread.start()
        # A broker that does not answer may hold up a look for longer.
        self._context.callback(thread.join, _END_SECONDS)
        self._context.callback(self._end.set)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._context.close()

    def _run(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                reading = self._read(began)
            except TaskToolsError as error:
                self.problem = str(error)
                self._last = _Look(time.monotonic())
            except Exception as error:  # noqa: BLE001 - the next look may succeed
                problem = f"The cluster could not be looked at: {error!r}"
                if problem != self.problem:
                    _log.exception("a look of the exporter failed")
                self.problem = problem
                self._last = _Look(time.monotonic())
            else:
                self.problem = reading.facts.missing.get("broker")
                if reading.facts.state.events.ok:  # else what is counted as 0 is not known
                    self._topics = topics_with_task_events(reading.facts)
                self._last = _Look(time.monotonic(), reading.is_up, samples_of(reading))
            self._end.wait(max(began + self._every - time.monotonic(), 0.0))

    def _read(self, began: float) -> Reading:
        diagnosis = look(self._cluster, settle=0.0)
        return Reading(
            facts=diagnosis.facts,
            rows=diagnosis.rows,
            head_waits=self._heads.see(diagnosis.facts, self._counts.by_topic("begun")),
            duration=time.monotonic() - began,
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last look; called at each scrape."""
        samples: Samples = {"tasktools_info": [(self._info, 1.0)]}
        last = self._last
        is_late = time.monotonic() - (last.ended if last else self._opened) > self._fresh_seconds
        if last is not None and not is_late:
            samples |= last.samples
        if last is not None or is_late:
            is_up = last is not None and last.is_up and not is_late
            samples["tasktools_up"] = [((), float(is_up))]
        samples |= of_counts(
            {
                "succeeded": self._counts.by_topic("succeeded"),
                "failed": self._counts.by_topic("failed"),
                "dead_lettered": self._counts.by_topic("dead_lettered"),
            },
            self._topics,
        )
        if self._needs is not None:
            for name, rows in self._needs.samples().items():
                samples[name] = [*samples.get(name, ()), *rows]
        for family in FAMILIES:
            kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
            metric = kind(family.name, family.meaning, labels=family.labels)
            for labels, value in _unique(samples.get(family.name, ())).items():
                metric.add_metric(labels, value)
            yield metric


def _unique(samples: Iterable[tuple[Labels, float]]) -> dict[Labels, float]:
    """Return *samples* with labels that UTF-8 can write; a scrape with two alike is refused."""
    return {
        tuple(label.encode("utf-8", "backslashreplace").decode() for label in labels): value
        for labels, value in samples
    }


@contextlib.contextmanager
def served(collector: Collector, address: str, port: int) -> Iterator[int]:
    """Serve *collector* over HTTP; give the port. Raises `OSError` where it cannot listen."""
    registry = CollectorRegistry()
    registry.register(collector)
    server: Any
    server, thread = start_wsgi_server(port, address, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
