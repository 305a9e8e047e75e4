"""Locks on a real broker: death of holders, and peers that would rob us."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq import RabbitMQBroker
from tasktools.brokers.rabbitmq.queues.lock_tokens import LockToken
from tasktools.core.clock import ManualClock
from tasktools.core.errors import BrokerTimeout
from tasktools.core.events import Event, LockEvent
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Raw
from tests.timing import within
from tests.vhosts import Vhost

PEERS = "tw.lock.report"
TOKEN = json.dumps({"lock": "report"}).encode()


def take_token(raw: Raw) -> bytes | None:
    """Take the token as a peer does."""
    body: bytes | None = raw.channel.basic_get(PEERS, auto_ack=True)[2]
    return body


def make_token_queue(raw: Raw) -> None:
    """Make queue and token as a peer does."""
    raw.declare(PEERS, x_max_length=1)
    raw.put(PEERS, TOKEN)


def test_a_lock_is_free_at_once_when_its_holder_is_killed(
    cluster: tt.Cluster, process: Any, raw: Raw
) -> None:
    child = process('held = broker.acquire_lock("report")')
    broker = cluster.broker
    assert broker.acquire_lock("report") is None
    child.send_signal(signal.SIGKILL)
    with within(30):  # else it is free after 300 s
        lock = eventually(lambda: broker.acquire_lock("report"))
    assert lock.fence == 2
    lock.release()
    eventually(lambda: raw.depth(PEERS) == 1)


def test_while_we_hold_a_lock_no_peer_gets_the_token_not_even_a_new_one(
    cluster: tt.Cluster, raw: Raw
) -> None:
    make_token_queue(raw)
    lock = cluster.broker.acquire_lock("report")
    assert lock
    for _ in range(200):  # as a peer does that thinks we are dead
        raw.put(PEERS, TOKEN)
        assert take_token(raw) is None
    assert lock.is_held
    lock.release()
    eventually(lambda: raw.depth(PEERS) == 1)
    assert take_token(raw) == TOKEN


def test_a_lock_that_a_peer_holds_is_respected(cluster: tt.Cluster, raw: Raw) -> None:
    make_token_queue(raw)
    assert take_token(raw)
    assert cluster.broker.acquire_lock("report") is None
    raw.put(PEERS, TOKEN)
    lock = cluster.broker.acquire_lock("report")
    assert lock
    lock.release()


def test_a_peer_counts_as_dead_when_its_token_was_missing_long_without_a_word(
    vhost: Vhost, raw: Raw
) -> None:
    make_token_queue(raw)
    assert take_token(raw)
    clock = ManualClock()
    with RabbitMQBroker(vhost.dsn, management_url=False, clock=clock) as broker:
        assert broker.acquire_lock("report") is None
        clock.advance(320)
        assert broker.acquire_lock("report") is None
        clock.advance(20)
        lock = broker.acquire_lock("report")
        assert lock
        lock.release()


def test_a_word_of_the_lock_shows_that_the_peer_lives(vhost: Vhost, raw: Raw) -> None:
    make_token_queue(raw)
    assert take_token(raw)
    clock = ManualClock()
    with RabbitMQBroker(vhost.dsn, management_url=False, clock=clock) as broker:
        assert broker.acquire_lock("report") is None
        clock.advance(200)
        released = threading.Event()

        def hear(event: Event) -> None:
            if isinstance(event, LockEvent):
                released.set()

        broker.listen(hear)
        event = {"event": "lock_acquired", "sender_id": "peer", "lock": {"task_name": "report"}}
        eventually(lambda: raw.channel.basic_publish("fp.workers", "", json.dumps(event)) is None)
        assert released.wait(30)
        clock.advance(200)
        assert broker.acquire_lock("report") is None


def test_the_token_is_exchanged_for_a_fresh_one_before_rabbitmq_takes_it_away(
    cluster: tt.Cluster, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LockToken, "rotate_seconds", 0.05)
    lock = cluster.broker.acquire_lock("report")
    assert lock
    for _ in range(50):
        assert take_token(raw) is None
        time.sleep(0.01)
    lock.release()
    eventually(lambda: raw.depth(PEERS) == 1)


def test_a_lock_is_lost_with_its_connection_and_says_so(
    rabbitmq: RabbitMQNode, vhost: Vhost, cluster: tt.Cluster
) -> None:
    lock = cluster.broker.acquire_lock("report")
    assert lock
    rabbitmq.restart()
    eventually(lambda: not lock.is_held)
    again = eventually(lambda: cluster.broker.acquire_lock("report"))
    assert again.fence > lock.fence
    lock.release()  # of no effect
    assert again.is_held
    again.release()


def test_a_lock_is_lost_when_somebody_deletes_the_token_queue(
    cluster: tt.Cluster, raw: Raw
) -> None:
    lock = cluster.broker.acquire_lock("report")
    assert lock
    raw.channel.queue_delete(PEERS)
    eventually(lambda: not lock.is_held)
    again = eventually(lambda: cluster.broker.acquire_lock("report"))
    again.release()


def test_force_release_gives_the_lock_of_a_dead_peer_back(cluster: tt.Cluster, raw: Raw) -> None:
    make_token_queue(raw)
    assert take_token(raw)
    assert cluster.broker.force_release_lock("report")
    lock = cluster.broker.acquire_lock("report")
    assert lock
    lock.release()


def test_a_holder_that_hangs_keeps_its_lock_and_we_say_so(connect: Connect, process: Any) -> None:
    child = process('held = broker.acquire_lock("report")')
    child.send_signal(signal.SIGSTOP)
    broker = connect(timeout=1.0).broker
    with pytest.raises(BrokerTimeout, match="did not release it"):
        broker.force_release_lock("report")
    assert broker.acquire_lock("report") is None
    child.send_signal(signal.SIGCONT)
    eventually(lambda: broker.acquire_lock("report"))  # it obeyed, late


def test_ten_threads_of_two_clients_are_never_two_in_the_lock(
    cluster: tt.Cluster, connect: Connect
) -> None:
    inside, most, fences = 0, 0, list[int]()
    guard = threading.Lock()

    def work(broker: Any) -> None:
        nonlocal inside, most
        done = 0
        while done < 5:
            lock = broker.acquire_lock("report")
            if lock is None:
                time.sleep(0.01)
                continue
            with guard:
                inside += 1
                most = max(most, inside)
                fences.append(lock.fence)
            time.sleep(0.002)
            with guard:
                inside -= 1
            lock.release()
            done += 1

    brokers = [cluster.broker, connect().broker]
    threads = [threading.Thread(target=work, args=(brokers[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, len(fences)) == (1, 30)
    assert fences == sorted(set(fences))
