"""Alarms, killed workers, restarts and clocks that are set, while capacity is at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.capacity.drain.bins import Timing
from tasktools.capacity.drain.drain_forecast import Answer, answer_of
from tasktools.capacity.replay_impact import choose_rate
from tasktools.core.errors import BrokerError
from tasktools.core.models import Source
from tasktools.metrics.exporter import Exporter, served
from tasktools.testing import RabbitMQNode, eventually
from tests.capacity.real_replays import TOPIC as REPLAYED
from tests.capacity.real_replays import WAIT_BELOW, write_history
from tests.conftest import Connect
from tests.rabbitmq.runners import Runners, fill
from tests.rabbitmq.test_clock import HOUR, SettableClock
from tests.timing import within
from tests.unit.metrics.scrape import Scraped, scrape, value, values
from tests.vhosts import Vhost

TOPIC = "work"
LEVEL = 10.0
TIMING = Timing(bin=0.5)
TIMEOUT = 5.0  # seconds: that of `connect`
_CAPACITY = 6
_SECONDS = 0.4  # of a task
"""So that 15 tasks end in a second."""
_TASKS = 2_000
"""More than end while a test may last: the queue is never empty."""


class Drain:
    """A queue of tasks that a worker takes away, which `cluster` watches."""

    def __init__(self, cluster: tt.Cluster, runners: Runners) -> None:
        self.cluster, self.runners = cluster, runners
        cluster.create_topic(TOPIC)
        fill(cluster, TOPIC, _TASKS, seconds=_SECONDS)
        self.worker = runners.start(TOPIC, capacity=_CAPACITY)
        eventually(lambda: len(cluster.workers()) == 1)
        eventually(lambda: self.forecast().forecast is not None)

    def forecast(self) -> Answer:
        """Forecast the end of the drain, in time."""
        with within(2 * TIMEOUT, "the forecast"):
            return answer_of(self.cluster, TOPIC, LEVEL, TIMING)

    def events(self) -> Source:
        """Return whether events come."""
        return self.cluster.broker.cluster_state().events


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def drain(vhost: Vhost, clock: SettableClock, tmp_path: Path) -> Iterator[Drain]:
    runners = Runners(vhost.dsn, tmp_path)
    broker = RabbitMQBroker(vhost.dsn, management_url=vhost.management_url, clock=clock)
    try:
        with tt.Cluster(broker, clock=clock) as cluster:
            yield Drain(cluster, runners)
    finally:
        runners.kill_all()


@contextmanager
def alarm(node: RabbitMQNode) -> Iterator[None]:
    """Have a memory alarm."""
    node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.6")


@contextmanager
def exporting(cluster: tt.Cluster) -> Iterator[Callable[[], Scraped]]:
    """Serve *cluster*; give a function that scrapes it."""
    exporter = Exporter(cluster, every=1.0, timeout=TIMEOUT, version=tt.__version__)
    with exporter, served(exporter, "127.0.0.1", 0) as port:
        yield lambda: values(scrape(port))


def test_an_alarm_hides_what_workers_do_and_is_no_wave_of_tasks_afterwards(
    drain: Drain, rabbitmq: RabbitMQNode
) -> None:
    with exporting(drain.cluster) as scraped:
        with alarm(rabbitmq):
            eventually(lambda: not drain.events().ok)
            silent_since = time.time()

            def shows_the_alarm() -> bool:
                """Whether a look that began when nothing more was heard shows the alarm."""
                shown = scraped()
                labels = {"check": "node_alarm", "severity": "critical"}
                is_known = value(shown, "tasktools_findings", **labels) == 1
                looked_at = value(shown, "tasktools_look_timestamp_seconds") or 0.0
                return is_known and looked_at > silent_since

            eventually(shows_the_alarm)
            shown = scraped()
            assert value(shown, "tasktools_up") == 1
            assert value(shown, "tasktools_topic_queued_messages", topic=TOPIC)
            names = {name for name, _ in shown}
            assert not names & {"tasktools_workers", "tasktools_worker_running_tasks"}
            depth = drain.forecast().reading.depth
            assert depth is not None
            eventually(lambda: (drain.forecast().reading.depth or depth) < depth)
        eventually(lambda: drain.events().ok)
        ends_at = time.monotonic() + 4.0
        while time.monotonic() < ends_at:  # the worker tells all that it could not tell
            made = drain.forecast().forecast
            assert made is None or made.arrivals < made.completions
        eventually(lambda: value(scraped(), "tasktools_workers", state="alive") == 1)


def test_the_end_of_a_queue_whose_only_worker_was_killed_is_not_promised(drain: Drain) -> None:
    drain.runners.kill(drain.worker)
    with within(20, "to see that nobody takes the topic"):
        eventually(lambda: drain.forecast().reading.slots == 0)
    answer = drain.forecast()
    assert answer.note.startswith("will not end: no worker takes this topic")
    assert drain.cluster.workers()["state"].tolist() != ["gone"]
    drain.runners.start(TOPIC, capacity=_CAPACITY)
    eventually(lambda: drain.forecast().reading.slots)


def test_a_broker_that_is_away_is_named_and_nothing_is_found_of_what_it_had(
    drain: Drain, rabbitmq: RabbitMQNode
) -> None:
    with exporting(drain.cluster) as scraped:
        eventually(lambda: value(scraped(), "tasktools_up") == 1)
        rabbitmq.stop()
        try:
            answer = drain.forecast()
            assert answer.forecast is None
            assert answer.note.startswith("not known: the broker did not answer: ")
            with within(2 * TIMEOUT, "the plan"), pytest.raises(BrokerError):
                drain.cluster.dead_letters(TOPIC)
            findings = tt.diagnose(drain.cluster)
            assert set(findings["verdict"]) == {"cannot tell"}
            shown = scraped()
            assert value(shown, "tasktools_up") == 0
            assert "tasktools_workers" not in {name for name, _ in shown}
        finally:
            rabbitmq.start()
        eventually(lambda: drain.forecast().forecast is not None, timeout=60)
        eventually(lambda: value(scraped(), "tasktools_workers", state="alive") == 1)


def test_a_clock_that_is_set_back_loses_the_past_and_not_the_forecast(
    drain: Drain, clock: SettableClock
) -> None:
    before = drain.forecast()
    clock.set_by -= HOUR
    eventually(lambda: drain.forecast().forecast is not None)
    answer = drain.forecast()
    made = answer.forecast
    assert made is not None
    assert answer.at < before.at - HOUR / 2
    assert made.arrivals < made.completions
    assert 0 < made.expected < TIMING.horizon
    with exporting(drain.cluster) as scraped:
        eventually(lambda: value(scraped(), "tasktools_workers", state="alive") == 1)
        shown = scraped()
        looked_at = value(shown, "tasktools_look_timestamp_seconds")
        assert looked_at is not None
        assert abs(looked_at - clock.time()) < 30
        assert not value(shown, "tasktools_findings", check="workers_hung", severity="warning")


def test_the_rate_of_a_replay_is_that_of_the_hour_whatever_stands_in_the_way(
    connect: Connect, vhost: Vhost, rabbitmq: RabbitMQNode, clock: SettableClock, tmp_path: Path
) -> None:
    write_history(tmp_path / "history.db", clock.time(), np.random.default_rng(1), load=0.2)
    broker = RabbitMQBroker(vhost.dsn, management_url=vhost.management_url, clock=clock)
    with (
        tt.Cluster(broker, clock=clock, choose_rate=choose_rate) as cluster,
        tt.connect(f"sqlite:///{tmp_path / 'history.db'}") as history,
    ):
        cluster.create_topic(REPLAYED)
        for number in range(20):
            cluster.publish(REPLAYED, "shop:send", kwargs={"n": number})
            delivery = cluster.broker.claim(REPLAYED, "worker-0")
            assert delivery is not None
            cluster.broker.nack(delivery.id, requeue=False)
        eventually(lambda: len(cluster.dead_letters(REPLAYED)) == 20)
        dead = cluster.dead_letters(REPLAYED)

        def plan() -> tt.Plan:
            with within(2 * TIMEOUT, "the plan"):
                return cluster.plan_replay(
                    dead, rate="auto", keep_wait_below=WAIT_BELOW, history=history
                )

        clock.set_by -= HOUR
        early = plan()
        assert early.rate is not None
        assert early.rate > 0
        assert "it keeps the p95 wait of live tasks below 1.5 s" in str(early.rate_why)
        clock.set_by += HOUR

        def knows_the_alarm() -> bool:  # events are not all there after the hour alone, either
            cluster.broker.cluster_state()
            return "alarm" in (cluster.broker.note or "")

        with alarm(rabbitmq):
            eventually(knows_the_alarm)
            made = plan()
            assert any("alarm" in risk for risk in made.warnings or ())
            assert made.rate is not None
        outcome = cluster.run(made, reason="tested", progress=False)
        assert set(outcome["outcome"]) == {"replayed"}
