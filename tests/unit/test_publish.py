"""Publishing from the facade: what is checked, and what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer

TASK = "shop:send"


@pytest.fixture
def cluster() -> Iterator[tt.Cluster]:
    with tt.connect("memory://") as cluster:
        cluster.broker.ensure_topic("emails")
        yield cluster


def expirations(cluster: tt.Cluster) -> list[str | None]:
    messages = cluster.broker.peek("emails", 10).messages
    return [message.properties.expiration for message in messages]


def test_a_time_to_live_is_in_milliseconds_on_the_wire(cluster: tt.Cluster) -> None:
    cluster.publish("emails", TASK, ttl=1.5)
    cluster.publish_many(pd.DataFrame({"topic": "emails", "task_name": TASK, "ttl": [60, None]}))
    assert expirations(cluster) == ["1500", "60000", None]


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ({"ttl": 0}, "ttl is 0 s"),
        ({"ttl": float("nan")}, "ttl is nan s"),
        ({"delay": -1.0}, "delay is -1 s"),
        ({"ttl": 1.0, "delay": 1.0}, "a ttl or a delay, not both"),
        ({"delay": "soon"}, "delay is str"),
        ({"ttl": ""}, "ttl is str"),
    ],
)
def test_a_time_that_is_none_is_refused_and_nothing_is_published(
    cluster: tt.Cluster, times: dict[str, Any], why: str
) -> None:
    with pytest.raises(tt.InvalidTask, match=why) as raised:
        cluster.publish("emails", TASK, **times)
    assert "nothing was published" in str(raised.value)
    assert expirations(cluster) == []


def test_a_bad_row_is_named_and_no_row_is_published(cluster: tt.Cluster) -> None:
    frame = pd.DataFrame({"topic": "emails", "task_name": TASK, "priority": [1, 2, 300]})
    with pytest.raises(tt.InvalidTask, match="Row 2: priority 300 is not 0 to 255"):
        cluster.publish_many(frame)
    assert expirations(cluster) == []


class Asked(MemoryBroker):
    """Counts how often it is asked whether a topic exists."""

    questions = 0

    def topic_exists(self, topic: str) -> bool:
        self.questions += 1
        return super().topic_exists(topic)


def test_a_publish_does_not_ask_first_whether_the_topic_exists() -> None:
    broker = Asked(MemoryServer())
    with tt.Cluster(broker) as cluster:
        cluster.create_topic("emails")
        broker.questions = 0
        cluster.publish("emails", TASK)
        assert broker.questions == 0
        with pytest.raises(tt.UnknownTopic, match="did you mean 'emails'"):
            cluster.publish("email", TASK)
        assert cluster.task_names() == [TASK]
        assert list(cluster.topics()["topic"]) == ["emails"]


def test_a_read_only_cluster_refuses_a_publish_by_name() -> None:
    with (
        tt.Cluster(MemoryBroker(MemoryServer(), read_only=True)) as cluster,
        pytest.raises(tt.ReadOnly, match="publish was refused"),
    ):
        cluster.publish("emails", TASK)
