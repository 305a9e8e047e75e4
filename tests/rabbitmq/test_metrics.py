"""Metrics for Prometheus of a real node: waits, outages, a user with few rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import copysign
from pathlib import Path
from statistics import median

import pytest

import tasktools as tt
from tasktools.metrics.exporter import Exporter, served
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.rabbitmq.runners import Runners, fill
from tests.support import Proxy
from tests.timing import contention, within
from tests.unit.metrics.scrape import Scraped, scrape, value, values
from tests.vhosts import Vhost

EMAILS = {"topic": "emails"}
WAIT = "tasktools_topic_head_wait_seconds"
QUEUED = "tasktools_topic_queued_messages"
LOOK = ("tasktools_look_timestamp_seconds", "tasktools_look_duration_seconds")
TASKS = 30
FAILED, SUCCEEDED = "tasktools_topic_failed_total", "tasktools_topic_succeeded_total"


@pytest.fixture
def runners(vhost: Vhost, tmp_path: Path) -> Iterator[Runners]:
    runners = Runners(vhost.dsn, tmp_path)
    yield runners
    runners.kill_all()


@contextmanager
def exporting(cluster: tt.Cluster) -> Iterator[Callable[[], Scraped]]:
    """Serve *cluster*; give a function that scrapes it."""
    exporter = Exporter(cluster, every=1.0, timeout=5.0, version=tt.__version__)
    with exporter, served(exporter, "127.0.0.1", 0) as port:
        yield lambda: values(scrape(port))


@pytest.mark.parametrize("management", ["with it", "AMQP alone"])
def test_the_wait_of_the_head_is_that_of_the_message_that_is_begun_next(
    connect: Connect, runners: Runners, management: str
) -> None:
    cluster = connect(**({} if management == "with it" else {"management_url": False}))
    cluster.create_topic("emails")
    runners.start("emails", "--prefetch", "1", capacity=1)
    eventually(lambda: len(cluster.workers()) == 1)
    published: list[float] = []
    errors: list[float] = []
    with exporting(cluster) as scraped:
        eventually(lambda: value(scraped(), WAIT, **EMAILS) == 0)
        began = time.time()
        while len(runners.executions()) < TASKS:  # 5 a second come, 2.5 go
            while len(published) < min(TASKS, 5 * (time.time() - began)):
                task = {"n": len(published), "seconds": 0.4}
                cluster.publish("emails", "logged_tasks:work", kwargs=task)
                published.append(time.time())
            time.sleep(0.1)
            shown = scraped()
            wait = value(shown, WAIT, **EMAILS)
            ended, lasted = (value(shown, name) or 0.0 for name in LOOK)
            next_one = begun_by(runners, ended)
            if wait and 5 < next_one < len(published):
                # The broker is asked at some moment of the look, and not all at once.
                error = wait - (ended - published[next_one])
                errors.append(copysign(max(abs(error) - lasted, 0.0), error))
        assert len(errors) > 15
        # A look is up to a second old, and a worker holds a message that it has not begun.
        assert max(map(abs, errors)) < 3 * contention()
        assert abs(median(errors)) < 1.5 * contention()
        eventually(lambda: value(scraped(), WAIT, **EMAILS) == 0)
        eventually(lambda: value(scraped(), SUCCEEDED, **EMAILS) == TASKS)


def begun_by(runners: Runners, at: float) -> int:
    """Return how many tasks had begun *at*, in seconds since the epoch."""
    since_the_epoch = time.time() - time.monotonic()  # of the clock by which tasks write it down
    return sum(run.began + since_the_epoch <= at for run in runners.executions())


def test_a_broker_that_stops_and_starts_is_told_and_counters_go_on(
    connect: Connect, runners: Runners, rabbitmq: RabbitMQNode
) -> None:
    cluster = connect()
    cluster.create_topic("emails")
    runners.start("emails", capacity=4)
    eventually(lambda: len(cluster.workers()) == 1)
    with exporting(cluster) as scraped:
        fill(cluster, "emails", 20)
        eventually(lambda: value(scraped(), SUCCEEDED, **EMAILS) == 20)
        eventually(lambda: value(scraped(), "tasktools_up") == 1)
        rabbitmq.stop()
        try:
            eventually(lambda: value(scraped(), "tasktools_up") == 0)
            down = scraped()
            assert value(down, SUCCEEDED, **EMAILS) == 20
            for name in (QUEUED, WAIT, "tasktools_topic_running_tasks"):
                assert value(down, name, **EMAILS) is None
        finally:
            rabbitmq.start()

        def is_back() -> bool:
            shown = scraped()
            return (
                value(shown, "tasktools_up") == 1
                and value(shown, QUEUED, **EMAILS) == 0
                and value(shown, "tasktools_topic_capacity_tasks", **EMAILS) == 4
            )

        eventually(is_back)
        fill(cluster, "emails", 5)
        eventually(lambda: value(scraped(), SUCCEEDED, **EMAILS) == 25)


def test_a_broker_that_does_not_answer_holds_up_no_scrape(
    connect: Connect, vhost: Vhost, proxy: Proxy
) -> None:
    cluster = connect(proxy.through(vhost.dsn), management_url=False)
    cluster.create_topic("emails")
    with exporting(cluster) as scraped:
        eventually(lambda: value(scraped(), "tasktools_up") == 1)
        proxy.stall()

        def is_down() -> bool:
            with within(2, "a scrape"):
                return value(scraped(), "tasktools_up") == 0

        eventually(is_down)


def test_a_user_with_few_rights_is_served_what_it_may_see(
    connect: Connect, cluster: tt.Cluster, vhost: Vhost, rabbitmq: RabbitMQNode
) -> None:
    cluster.create_topic("emails")
    fill(cluster, "emails", 3)
    rabbitmq.add_user("monitor", "pw")
    rabbitmq.allow("monitor", vhost.name, configure="^$", write="^$", read="^emails$")
    limited = connect(vhost.dsn.replace("guest:guest@", "monitor:pw@"), topics=["emails"])
    with exporting(limited) as scraped:
        eventually(lambda: value(scraped(), "tasktools_up") == 1)
        shown = scraped()
        assert value(shown, QUEUED, **EMAILS) == 3
        assert value(shown, "tasktools_source_up", source="events") == 0
        assert value(shown, "tasktools_source_up", source="management") == 0
        # No events, and no counters of the broker: nobody can tell when the head came.
        names = {name for name, _ in shown}
        assert not names & {WAIT, "tasktools_running_tasks", "tasktools_topic_capacity_tasks"}
        assert not names & {SUCCEEDED, FAILED, "tasktools_topic_dead_lettered_total"}
        checks = {dict(labels)["check"] for name, labels in shown if name == "tasktools_findings"}
        assert checks  # what it can judge
        assert "workers_gone" not in checks
