"""Compressed bodies and Celery's protocol 1: read for people, bounded, never unpickled."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import time
import zlib
from collections.abc import Callable, Iterator

import pandas as pd
import pytest

from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.dialects.fastpluggy import FASTPLUGGY
from tasktools.core.layout import FP
from tasktools.core.models import Properties
from tasktools.core.tasks import codec, edits
from tasktools.core.tasks.amendment import amended
from tasktools.testing import celery_message, task_body
from tasktools.testing.factories import properties

OLD = {"id": "old-1", "task": "shop.send", "args": [1], "kwargs": {"to": "a@b"}, "retries": 2}

COMPRESSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, "application/x-gzip"),
    "zlib": (zlib.compress, "application/x-gzip"),
    "deflate": (lambda body: zlib.compress(body)[2:-4], "application/x-gzip"),
    "bz2": (bz2.compress, "application/x-bz2"),
    "xz": (lzma.compress, "application/x-lzma"),
    "base64": (base64.b64encode, "base64"),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_body_is_read_by_its_content_encoding(name: str) -> None:
    """Issue 11, misleading: compressed bodies are "not JSON"."""
    compress, _ = COMPRESSED[name]
    task = codec.decode(compress(task_body()), properties(content_encoding=name))
    assert (task.problem, task.dialect, task.kwargs) == (None, "fastpluggy", {"to": "a@b"})
    assert task.unreadable == "its body is compressed"


@pytest.mark.parametrize("name", ["gzip", "zlib", "bz2", "xz"])
def test_a_compressed_message_of_celery_is_read_by_its_header(name: str) -> None:
    """Issue 11, misleading: Celery says it in the header `compression`."""
    compress, header = COMPRESSED[name]
    body, message_properties = celery_message(args=[7])
    headers = {**message_properties.headers, "compression": header}
    task = codec.decode(compress(body), properties(headers=headers, content_encoding="utf-8"))
    assert (task.problem, task.args, task.dialect) == (None, [7], "celery")


@pytest.mark.parametrize("name", ["gzip", "bz2", "xz"])
def test_a_bomb_is_not_unpacked(name: str) -> None:
    """Issue 11, misleading: bounded in size; what some kilobytes stand for is not unpacked."""
    compress, _ = COMPRESSED[name]
    bomb = compress(bytes(20_000_000))
    began = time.process_time()
    task = codec.decode(bomb, properties(content_encoding=name))
    assert time.process_time() - began < 2
    assert "more than 4,194,304 bytes" in str(task.problem)


@pytest.mark.parametrize("name", COMPRESSED)
def test_what_is_not_what_its_properties_say_is_a_problem(name: str) -> None:
    """Issue 11, misleading: an encoding that lies."""
    task = codec.decode(b"\x00\x01 nonsense", properties(content_encoding=name))
    assert f"is not {name}" in str(task.problem) or "not JSON" in str(task.problem)


def test_a_pickle_within_stays_bytes() -> None:
    """Issue 11, misleading: never unpickled, compressed or not."""
    _, message_properties = celery_message()
    headers = {**message_properties.headers, "compression": "application/x-gzip"}
    packed = zlib.compress(pickle.dumps([[], {}, {}]))
    kind = "application/x-python-serialize"
    task = codec.decode(packed, properties(headers=headers, content_type=kind))
    assert "never unpickled" in str(task.problem)


def test_a_message_of_celerys_protocol_1_is_recognised() -> None:
    """Issue 11, misleading: all that it says is in its body."""
    task = codec.decode(json.dumps(OLD).encode(), Properties(content_type="application/json"))
    assert (task.dialect, task.problem) == ("celery", None)
    assert (task.task_id, task.task_name, task.attempts) == ("old-1", "shop.send", 2)
    assert (task.args, task.kwargs) == ([1], {"to": "a@b"})
    assert task.unreadable == "it is a message of Celery"


def test_arguments_of_protocol_1_are_edited_where_they_are() -> None:
    """Issue 11, misleading: its arguments have names in the body."""
    body = json.dumps(OLD).encode()
    raw = amqp_properties.encode(Properties())
    changed, _ = amended(body, raw, {"kwargs.to": "b@c", "args.0": 2}, FASTPLUGGY, queue="mail")
    assert json.loads(changed) == OLD | {"args": [2], "kwargs": {"to": "b@c"}}


def test_a_compressed_body_is_not_edited() -> None:
    """Issue 11, misleading: it is sent as it is, or not at all."""
    raw = amqp_properties.encode(properties(content_encoding="gzip"))
    with pytest.raises(edits.EditDoesNotFit, match="compressed"):
        amended(gzip.compress(task_body()), raw, {"kwargs.to": "x"}, FASTPLUGGY, queue="mail")


def test_a_worker_of_ours_takes_neither() -> None:
    """Issue 11, misleading: it could not publish them again with their attempts counted."""
    message_properties = properties(content_encoding="gzip")
    assert (
        codec.decode_for_worker(gzip.compress(task_body()), message_properties).problem is not None
    )
    assert codec.decode_for_worker(json.dumps(OLD).encode(), Properties()).problem is not None


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(MemoryBroker(layout=FP)) as cluster:
        cluster.create_topic("emails")
        yield cluster


def test_a_plan_says_that_the_expires_of_celery_is_past(cluster: Cluster) -> None:
    """Issue 11, misleading: a Celery message whose `expires` is past, of both protocols."""
    server = cluster.broker.server  # type: ignore[attr-defined]
    for when in ("2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"):
        body, message_properties = celery_message()
        headers = {**message_properties.headers, "expires": when}
        server.put("emails.dead", body, properties(headers=headers, correlation_id=when))
        old = json.dumps(OLD | {"expires": when, "id": when}).encode()
        server.put("emails.dead", old, Properties())
    dead: pd.DataFrame = cluster.dead_letters("emails")
    assert dead["expires_at"].notna().all()
    plan = cluster.plan_replay(dead, undecodable=True)
    assert len(plan) == 4
    assert "2 have expired, so their workers drop them unrun" in repr(plan)
