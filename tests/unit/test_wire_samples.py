"""Messages of real Celery and Dramatiq: each is read as what was submitted."""

from __future__ import annotations

import pytest

from tasktools.core.amqp import properties
from tasktools.core.tasks import codec
from tests.wire.samples import Sample, sample, samples

TASKS = [(peer, message) for peer in ("celery", "dramatiq") for message in samples(peer, "tasks")]
MESSAGES = [message for _, message in TASKS]


def named(value: object) -> str:
    return value.name if isinstance(value, Sample) else str(value)


@pytest.mark.parametrize(("peer", "message"), TASKS, ids=named)
def test_a_task_is_read_as_it_was_submitted(peer: str, message: Sample) -> None:
    submitted = message.task or {}
    task = codec.decode(message.body, message.properties)
    assert (task.dialect, task.task_id) == (peer, submitted["id"])
    assert task.task_name == submitted["task"]
    if "pickle" in message.name:
        assert task.args is None
        assert "never unpickled" in (task.problem or "")
    else:
        assert (task.args, task.kwargs) == (submitted["args"], submitted["kwargs"])
        assert task.problem is None


@pytest.mark.parametrize("message", [*MESSAGES, *samples("celery", "requests")], ids=named)
def test_properties_stay_the_same_when_they_are_encoded_again(message: Sample) -> None:
    assert properties.decode(properties.encode(message.properties)) == message.properties


def test_the_samples_have_every_event_of_a_task_and_a_worker() -> None:
    bodies = [each.value for each in samples("celery", "events")]
    events = [event for body in bodies for event in (body if isinstance(body, list) else [body])]
    fates = ("received", "started", "succeeded", "failed", "retried", "rejected", "revoked", "sent")
    assert {event["type"] for event in events} == {
        *(f"task-{fate}" for fate in fates),
        *(f"worker-{state}" for state in ("online", "heartbeat", "offline")),
    }
    assert any(event["active"] == 2 for event in events if event["type"] == "worker-heartbeat")


def test_each_request_to_a_worker_of_celery_has_its_reply() -> None:
    requests = {each.name: each.value["ticket"] for each in samples("celery", "requests")[:-1]}
    replies = {
        each.name: each.properties.headers["ticket"] for each in samples("celery", "replies")
    }
    assert requests == replies
    stats = sample("celery", "replies", "stats").value["w0@shop"]
    assert stats["pool"]["max-concurrency"] == 2


def test_a_dead_message_of_dramatiq_has_its_last_failure_but_one() -> None:
    """What it says of an error is of the attempt before the one that it died of."""
    dead = sample("dramatiq", "tasks", "dead after a retry")
    assert dead.value["options"]["traceback"].endswith("ValueError: <b>boom</b>\n")
    error = codec.decode(dead.body, dead.properties).error
    assert error is not None
    assert (error.error_type, error.text) == ("ValueError", "<b>boom</b>")
    assert sample("dramatiq", "tasks", "dead at the first failure").value["options"] == {}
