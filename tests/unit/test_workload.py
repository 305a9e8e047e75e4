"""The load of topics by what workers report: what nobody reports is missing, not 0."""

from __future__ import annotations

import pytest
from msgspec import structs

from tasktools.core.models import ClusterState, RunningTask, Source, Worker
from tasktools.core.workload import TopicLoad, TopicLoads
from tests.unit.diagnosis.facts_factory import moment

NOTHING = TopicLoad(None, None, None)


def state(*running: RunningTask, ok: bool = True, settled: bool = True) -> ClusterState:
    workers = tuple(
        Worker(worker_id=name, state="alive", uncertain=False, capacity=2, topics=("mail", topic))
        for name, topic in [("w0", "reports"), ("w1", "images")]
    )
    events = Source(name="events", ok=ok)
    return ClusterState(
        at=moment(), events=events, settled=settled, workers=workers, running=running
    )


def test_a_topic_has_the_workers_that_report_it() -> None:
    loads = TopicLoads(state(RunningTask(task_id="t1", worker_id="w0", topic="mail")))
    assert loads.of("mail", "celery") == TopicLoad(1, 2, 4)
    assert loads.of("reports", None) == TopicLoad(0, 1, 2)
    assert loads.of("other", "fastpluggy") == TopicLoad(0, 0, 0)


@pytest.mark.parametrize("dialect", ["dramatiq", "plain"])
def test_workers_that_send_nothing_are_not_none(dialect: str) -> None:
    loads = TopicLoads(state())
    assert loads.of("orders", dialect) == NOTHING
    assert loads.of("mail", dialect) == TopicLoad(0, 2, 4)  # workers that are heard share it


def test_nothing_is_known_before_workers_spoke() -> None:
    assert TopicLoads(state(ok=False)).of("mail", None) == NOTHING
    assert TopicLoads(state(settled=False)).of("mail", None) == NOTHING


def test_nothing_is_known_of_a_dialect_while_one_of_its_workers_has_not_named_its_topics() -> None:
    unnamed = Worker(
        worker_id="w2", state="alive", uncertain=False, dialect="celery", topics_known=False
    )
    before = state()
    loads = TopicLoads(structs.replace(before, workers=(*before.workers, unnamed)))
    assert loads.of("mail", "celery") == NOTHING
    assert loads.of("other", None) == NOTHING
    assert loads.of("mail", "fastpluggy") == TopicLoad(0, 2, 4)
    gone = structs.replace(unnamed, state="gone")
    loads = TopicLoads(structs.replace(before, workers=(*before.workers, gone)))
    assert loads.of("mail", "celery") == TopicLoad(0, 2, 4)


def test_a_running_task_of_an_unknown_topic_may_be_of_any_of_its_worker() -> None:
    loads = TopicLoads(state(RunningTask(task_id="t1", worker_id="w0", topic=None)))
    running = {topic: loads.of(topic, None).running for topic in ("mail", "reports", "images")}
    assert running == {"mail": None, "reports": None, "images": 0}
