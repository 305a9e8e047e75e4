"""Compressed bodies on a real broker: shown, and replayed byte for byte."""

from __future__ import annotations

import bz2
import gzip
import zlib

import tasktools as tt
from tasktools.testing import celery_message, task_body
from tests.support import Raw


def test_compressed_dead_letters_are_shown_and_replayed_as_they_are(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """Issue 11, misleading: compressed bodies are "not JSON"."""
    cluster.create_topic("emails")
    body, celery_properties = celery_message()
    headers = {**celery_properties.headers, "compression": "application/x-gzip"}
    bodies = [gzip.compress(task_body()), bz2.compress(task_body()), zlib.compress(body)]
    raw.put("emails.dead", bodies[0], content_encoding="gzip")
    raw.put("emails.dead", bodies[1], content_encoding="bzip2")
    raw.put("emails.dead", bodies[2], headers=headers, content_type="application/json")

    dead = cluster.dead_letters("emails")

    assert dead["problem"].isna().all()
    assert dead["kwargs"].tolist() == [{"to": "a@b"}] * 3
    assert len(cluster.plan_replay(dead)) == 0  # a worker of fastpluggy does not unpack
    forced = cluster.plan_replay(dead, undecodable=True)
    outcome = cluster.run(forced, reason="misleading", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"] * 3
    assert [content for _, content in raw.read_all("emails")] == bodies
