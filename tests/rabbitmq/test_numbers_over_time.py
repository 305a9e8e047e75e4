"""Numbers over time beside a real worker, whose tasks themselves tell what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.conftest import Connect

REGISTRY = tt.TaskRegistry()
TRIES: list[tuple[str, int]] = []


@REGISTRY.task(max_retries=2, retry_delay=0.05)
def fails_twice() -> None:
    context = tt.current_task()
    TRIES.append((str(context.task_id), context.attempts - 1))
    if context.attempts < 3:
        raise RuntimeError("not yet")


@pytest.fixture(autouse=True)
def no_tries() -> Iterator[None]:
    TRIES.clear()
    yield
    TRIES.clear()


def test_of_quick_retries_attempts_and_tasks_are_counted_as_the_tasks_do(
    connect: Connect, tmp_path: Path
) -> None:
    """Issue 11, misleading: attempts (42 of 90 too high), published, task_id, task_name."""
    cluster, count, name = connect(), 45, f"{__name__}:fails_twice"
    cluster.create_topic("emails")
    file = tmp_path / "ops.db"
    with cluster.record(file, every=1, messages=True):
        runner = tt.TaskRunner(
            broker=connect().broker, topics=["emails"], capacity=4, registry=REGISTRY
        )
        with runner:
            for _ in range(count):
                cluster.publish("emails", name)
            assert eventually(lambda: len(TRIES) == 3 * count, 120)

            def ended() -> int:
                with tt.connect(f"sqlite:///{file}") as history:
                    return int(history.throughput(every="1h")["succeeded"].fillna(0).sum())

            assert eventually(lambda: ended() == count)
    with tt.connect(f"sqlite:///{file}") as history:
        failures = history.failures()
        right = Counter(attempt for attempt in TRIES if attempt[1] < 2)
        rows = zip(failures["task_id"], failures["attempts"], strict=True)
        assert Counter((str(task), int(attempts)) for task, attempts in rows) == right
        assert history.throughput(every="1h")["published"].sum() == count
        assert set(history.published()["task_id"]) == {task for task, _ in TRIES}
        events = history.task_events()
        assert events["task_name"].notna().all()
        rate = history.throughput(every="1h")["rate"].dropna().iloc[0]
        lasted = (events["at"].max() - events["at"].min()).total_seconds()
        assert rate <= 3 * count / lasted  # not of an hour, and not of less than it took
        assert rate > 3 * count / 3_600 * 2
