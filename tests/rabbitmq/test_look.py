"""Looking changes nothing: what a look did, checked by plain pika."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pika
import pytest

import tasktools as tt
from tasktools.core.peek_verdict import Cost
from tasktools.testing import eventually

KINDS = ["classic", "quorum"]


def looks(frame: Any) -> dict[str, Any]:
    """Return the report of the only look behind *frame*."""
    (look,) = frame.attrs["looks"]
    return dict(look)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_looks_leave_the_same_messages_in_the_same_order(
    kind: str, cluster: Any, raw: Any, version: tuple[int, int]
) -> None:
    queue = raw.declare("emails", x_queue_type=kind)
    bodies = raw.fill(queue, 60)
    frames = [cluster.active_tasks(queue) for _ in range(10)]
    assert [len(frame) for frame in frames] == [60] * 10
    if kind == "classic" or version >= (4, 3):
        assert {looks(frame)["cost"] for frame in frames} == {"harmless"}
        assert all((frame["key"] == frames[0]["key"]).all() for frame in frames)
    elif version < (4, 0):
        assert looks(frames[0])["cost"] == "reorders"
    else:
        assert looks(frames[0])["cost"] == "counts"
    assert raw.depth(queue) == 60
    # The give-back by closing keeps the order on 3.10 too, though it is not promised there.
    assert raw.bodies(queue) == bodies


def test_part_of_a_queue_is_shown_and_the_frame_says_so(cluster: Any, raw: Any) -> None:
    bodies = raw.fill(raw.declare("emails"), 30)
    frame = cluster.active_tasks("emails", limit=10)
    assert len(frame) == 10
    assert "10 of 30" in " ".join(frame.attrs["notes"])
    assert raw.bodies("emails") == bodies


def test_a_body_of_5_mb_and_one_that_is_no_json_are_shown(cluster: Any, raw: Any) -> None:
    bodies = [b"x" * 5_000_000, b"\x80\x04 pickled?", b"<script>alert(1)</script>"]
    cluster.create_topic("emails")
    for body in bodies:
        raw.put("emails", body)
    frame = cluster.active_tasks("emails")
    assert frame["problem"].tolist() == ["the body is not JSON"] * 3
    assert frame["args"].isna().all()
    assert "<script>" not in frame.to_html()
    assert raw.bodies("emails") == bodies


def test_with_an_active_consumer_the_same_set_remains(cluster: Any, raw: Any) -> None:
    bodies = raw.fill(raw.declare("emails"), 40)
    taken: list[bytes] = []
    raw.channel.basic_qos(prefetch_count=5)
    tag = raw.channel.basic_consume("emails", lambda _c, _m, _p, body: taken.append(body))
    raw.connection.process_data_events(0.2)
    frame = cluster.active_tasks("emails")
    assert looks(frame)["cost"] == "reorders"
    assert len(frame) == 35
    raw.channel.basic_cancel(tag)
    raw.channel.basic_nack(0, multiple=True, requeue=True)
    eventually(lambda: raw.depth("emails") == 40)
    assert sorted(raw.bodies("emails")) == sorted(bodies)


def test_a_delivery_limit_of_three_is_never_used_up(
    cluster: Any, raw: Any, version: tuple[int, int]
) -> None:
    """Before 4.3 every look counts: it answers until one is left, then says so. From 4.3 on one
    that is interrupted counts, so it is not risked at all (issue 11, row 20)."""
    queue = raw.declare("emails", x_queue_type="quorum", x_delivery_limit=3)
    bodies = raw.fill(queue, 20)
    frames = [cluster.active_tasks(queue) for _ in range(4)]
    refused = looks(frames[2])
    if version >= (4, 3):
        assert [len(frame) for frame in frames] == [0] * 4
        assert "interrupted" in refused["why"]
    else:
        assert [len(frame) for frame in frames] == [20, 20, 0, 0]
        assert "1 look is left" in refused["why"]
    assert refused["refused"]
    assert not frames[2].attrs["sources"]["look"]["ok"]
    assert sorted(raw.bodies(queue)) == sorted(bodies)


def test_a_process_that_knows_nothing_of_earlier_looks_loses_nothing(
    connect: Any, raw: Any, version: tuple[int, int]
) -> None:
    """Each fresh client takes one more look; messages at their limit are published again."""
    queue = raw.declare("emails", x_queue_type="quorum", x_delivery_limit=3)
    bodies = raw.fill(queue, 20)
    force = version >= (4, 3)
    notes = [str(connect().broker.peek(queue, 100, force=force).note) for _ in range(6)]
    assert sorted(raw.bodies(queue)) == sorted(bodies)
    if version < (4, 3):
        assert any("had reached their delivery limit" in note for note in notes)


def test_a_rescued_message_is_the_same_byte_for_byte(connect: Any, raw: Any) -> None:
    queue = raw.declare("emails", x_queue_type="quorum", x_delivery_limit=2)
    headers = {"whole": 7, "text": "käse", "flag": True, "nested": {"a": [1, "b"]}}
    raw.put(queue, b"\x00body", message_id="m1", headers=headers, priority=3, app_id="app")
    for _ in range(5):
        connect().broker.peek(queue, 10, force=True)
    ((properties, body),) = raw.read_all(queue)
    assert body == b"\x00body"
    own_headers = {k: v for k, v in properties.headers.items() if not k.startswith("x-")}
    assert own_headers == headers
    assert (properties.message_id, properties.priority, properties.app_id) == ("m1", 3, "app")


@pytest.fixture
def poison(raw: Any) -> str:
    """A message that used up its delivery limit, in a quorum dead-letter queue."""
    dead = raw.declare("emails.dead", x_queue_type="quorum")
    raw.declare(
        "emails",
        x_queue_type="quorum",
        x_delivery_limit=20,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=dead,
    )
    raw.put("emails", b"poison")
    while raw.depth(dead) == 0:
        method, _, _ = raw.channel.basic_get("emails")
        if method is not None:
            raw.channel.basic_reject(method.delivery_tag, requeue=True)
    return str(dead)


def test_a_poison_message_in_a_quorum_dead_letter_queue_is_safe(
    poison: str, cluster: Any, raw: Any, version: tuple[int, int]
) -> None:
    """4.3 carries delivery counts over, and one look would delete it: refused, and harmless
    only after the policy that the refusal offers (next test)."""
    if version >= (4, 3):
        with pytest.raises(tt.LookRefused, match="set_operator_policy"):
            cluster.broker.peek(poison, 10)
    else:
        assert len(cluster.broker.peek(poison, 10).messages) == 1
    assert raw.bodies(poison) == [b"poison"]


def test_with_the_offered_policy_thirty_looks_are_harmless(
    poison: str, cluster: Any, raw: Any, version: tuple[int, int], rabbitmq: Any, vhost: Any
) -> None:
    if version >= (4, 0):
        rabbitmq.ctl(
            "set_operator_policy", "--vhost", vhost.name, "--apply-to", "queues",
            "tasktools-look", r"^emails\.dead$", '{"delivery-limit": -1}',
        )  # fmt: skip
    costly = (Cost.COULD_DROP, Cost.COUNTS)
    eventually(lambda: cluster.broker.look_verdict(poison, 1).cost not in costly)
    for _ in range(30):
        assert len(cluster.broker.peek(poison, 10).messages) == 1
    assert raw.bodies(poison) == [b"poison"]


def test_even_a_forced_look_at_a_poison_message_loses_nothing(
    poison: str, cluster: Any, raw: Any, version: tuple[int, int]
) -> None:
    look = cluster.broker.peek(poison, 10, force=True)
    assert len(look.messages) == 1
    if version >= (4, 3):
        assert "published again" in str(look.note)
    assert raw.bodies(poison) == [b"poison"]


def test_a_read_only_cluster_looks_only_where_it_is_harmless(connect: Any, raw: Any) -> None:
    cluster = connect(read_only=True)
    raw.fill(raw.declare("plain", x_queue_type="classic"), 3)
    raw.fill(raw.declare("counting", x_queue_type="quorum", x_delivery_limit=5), 3)
    assert len(cluster.active_tasks("plain")) == 3
    frame = cluster.active_tasks("counting")
    assert frame.empty
    assert "read_only" in looks(frame)["why"]
    assert raw.depth("counting") == 3


def test_a_peeking_process_that_is_killed_leaves_everything(raw: Any, vhost: Any) -> None:
    bodies = raw.fill(raw.declare("emails"), 500)
    code = (
        "import tasktools as tt, os\n"
        f"cluster = tt.connect({vhost.dsn!r}, management_url={vhost.management_url!r})\n"
        "cluster.broker._functions.learn = lambda task: os.kill(os.getpid(), 9)\n"
        "cluster.active_tasks('emails')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    eventually(lambda: raw.depth("emails") == 500)
    assert raw.bodies("emails") == bodies


def test_a_queue_deleted_between_is_said_and_no_crash(cluster: Any, raw: Any) -> None:
    raw.fill(raw.declare("emails"), 3)
    cluster.active_tasks("emails")
    raw.channel.queue_delete("emails")
    with pytest.raises(tt.UnknownTopic, match="emails"):
        cluster.active_tasks("emails")
    with pytest.raises(tt.QueueNotFound, match="emails"):
        cluster.broker.peek("emails", 1)


def test_a_message_with_hostile_properties_is_shown_and_nothing_breaks(
    cluster: Any, raw: Any
) -> None:
    """pika cannot decode these; the connection and all claims on it must live."""
    cluster.broker.ensure_topic("claimed")
    cluster.broker.publish("claimed", {"task_name": "shop:send"})
    delivery = cluster.broker.claim("claimed", "w")
    raw.declare("emails")
    odd_id = pika.BasicProperties(message_id="x")
    odd_id.encode = lambda: [b"\x00\x80" + b"\x02\xff\xfe"]
    year = pika.BasicProperties()
    table = b"\x01tT" + (2**62).to_bytes(8, "big")
    year.encode = lambda: [b"\x20\x00" + len(table).to_bytes(4, "big") + table]
    for properties in (odd_id, year):
        raw.channel.basic_publish("", "emails", b"odd", properties, mandatory=True)
    for _ in range(2):
        assert len(cluster.active_tasks("emails")) == 2
    assert raw.depth("emails") == 2
    cluster.broker.ack(delivery.id)


def test_no_look_where_a_message_at_its_limit_could_not_be_saved(
    raw: Any, connect: Any, rabbitmq: Any, vhost: Any
) -> None:
    queue = raw.declare("emails", x_queue_type="quorum", x_delivery_limit=5)
    bodies = raw.fill(queue, 3)
    user = f"looker-{vhost.name}"
    rabbitmq.add_user(user, "pw", tags="management")
    rabbitmq.allow(user, vhost.name, configure="^tasktools", write="^tasktools", read=".*")
    looker = connect(vhost.dsn.replace("guest:guest@", f"{user}:pw@"))
    with pytest.raises(tt.LookRefused, match=r"write permission on amq\.default"):
        looker.broker.peek(queue, 10)
    with pytest.raises(tt.LookRefused, match="read_only"):
        connect(read_only=True).broker.peek(queue, 10)
    assert raw.bodies(queue) == bodies
