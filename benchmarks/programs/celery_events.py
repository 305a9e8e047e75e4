"""Speaks as busy workers of Celery do: celery_events.py DSN WORKERS EVENTS RATE.

Each task is received, started and ended; each hundredth fails. Two events come in a message, which
is what a worker of 5.7 on short tasks makes of it (1.9 of 9,000 events). RATE is in events a
second, 0 for as fast as can be: frames are put together here, since pika takes 100 us for each
message. Heartbeats come every two seconds. Prints, as JSON, how many events were sent, how many
tasks succeeded and failed, and the seconds that it took.
"""

import json
import socket
import struct
import sys
import time
from urllib.parse import unquote, urlsplit

from pika import frame, spec

dsn, workers, total, rate = sys.argv[1], *map(int, sys.argv[2:])
COMMON = b'"hostname": "sim-%02d@bench", "utcoffset": 0.0, "pid": 4711, "clock": %d, '
ID = b'"uuid": "00000000-0000-4000-8000-%012d", '
RECEIVED = (
    b'"name": "shop.send_email", "args": "(\'a@b\',)", "kwargs": "{\'order\': 4711, \'n\': 1}",'
    b' "root_id": "00000000-0000-4000-8000-%012d", "parent_id": null, "retries": 0, "eta": null,'
    b' "expires": null, '
)
SUCCEEDED = b'"result": "\'a@b\'", "runtime": 0.0017800309999529418, '
FRAME = r"  File \"/srv/shop/lib/python3.11/site-packages/celery/app/trace.py\", line 564, in f\n"
FAILED = (
    b'"exception": "TimeoutError(\'no answer for %d\')", "traceback": "Traceback (most recent call'
    b" last):\\n" + FRAME.encode() * 3 + b'TimeoutError: no answer\\n", '
)
HEARTBEAT = (
    b'"freq": 2.0, "active": 2, "processed": 9, "loadavg": [0.5, 0.5, 0.5],'
    b' "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", '
)
AT = b'"timestamp": %.6f, "type": "%s"}'
HEARTBEAT_EVERY = 2.0
BLOCK = 500  # events that are written at once
PROPERTIES = b"".join(
    spec.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"hostname": "sim@bench"},
        delivery_mode=1,
        priority=0,
    ).encode()
)


class Publisher:
    """A connection with one channel that writes messages in blocks."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(spec.Connection.Start)
        response = f"\0{parts.username}\0{parts.password}"
        self._say(0, spec.Connection.StartOk({}, "PLAIN", response, "en_US"))
        tune = self._expect(spec.Connection.Tune)
        self._say(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._say(0, spec.Connection.Open(unquote(parts.path[1:]) or "/"))
        self._expect(spec.Connection.OpenOk)
        self._say(1, spec.Channel.Open())
        self._expect(spec.Channel.OpenOk)
        self._say(1, spec.Exchange.Declare(exchange="celeryev", type="topic", durable=True))
        self._expect(spec.Exchange.DeclareOk)

    def _say(self, channel: int, method: object) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _expect(self, kind: type) -> object:
        """Return the method that comes next, which must be a *kind*."""
        size = struct.unpack(">BHI", self._receive(7))[2]
        method = spec.methods[int.from_bytes(self._receive(4), "big")]()
        method.decode(self._receive(size - 4))
        assert isinstance(method, kind), method
        assert self._receive(1) == b"\xce"
        return method

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data

    def publish(self, key: str, bodies: list[bytes]) -> None:
        """Publish events with the routing key *key*."""
        method = frame.Method(1, spec.Basic.Publish(exchange="celeryev", routing_key=key)).marshal()
        blocks = []
        for body in bodies:
            head = struct.pack(">HHQ", spec.BasicProperties.INDEX, 0, len(body)) + PROPERTIES
            blocks += [method, part(spec.FRAME_HEADER, head), part(spec.FRAME_BODY, body)]
        self._socket.sendall(b"".join(blocks))

    def close(self) -> None:
        """Close the channel, once all that was published has been taken."""
        self._say(1, spec.Channel.Close(200, "", 0, 0))
        self._expect(spec.Channel.CloseOk)
        self._socket.close()


def part(kind: int, payload: bytes) -> bytes:
    """Return a frame of the channel."""
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def event(n: int, now: float) -> bytes:
    """Return the n-th event: each task has three."""
    task, step = divmod(n, 3)
    head = b"{" + COMMON % (task % workers, n) + ID % task
    if step == 0:
        return head + RECEIVED % task + AT % (now, b"task-received")
    if step == 1:
        return head + AT % (now, b"task-started")
    if task % 100 == 99:
        return head + FAILED % task + AT % (now, b"task-failed")
    return head + SUCCEEDED + AT % (now, b"task-succeeded")


def beat(kind: str, now: float) -> None:
    """Let each worker say that it is there."""
    at = AT % (now, f"worker-{kind}".encode())
    beats = [b"{" + COMMON % (worker, 0) + HEARTBEAT + at for worker in range(workers)]
    publisher.publish(f"worker.{kind}", beats)


publisher = Publisher(dsn)
total -= total % 6  # whole tasks, whole messages
began = time.time()
beat("online", began)
beaten, sent = began, 0
while sent < total:
    now = time.time()
    if now - beaten >= HEARTBEAT_EVERY:
        beat("heartbeat", now)
        beaten = now
    due = min(total, sent + BLOCK, int((now - began) * rate) if rate else total)
    pairs = range(sent, due - due % 2, 2)
    publisher.publish(
        "task.multi", [b"[" + event(n, now) + b", " + event(n + 1, now) + b"]" for n in pairs]
    )
    sent += 2 * len(pairs)
    if rate and sent < total:
        time.sleep(max(0.0, (sent + 100) / rate - (time.time() - began)))
beat("heartbeat", time.time())
publisher.close()
tasks, took = total // 3, time.time() - began
failed = tasks // 100
print(json.dumps({"events": total, "succeeded": tasks - failed, "failed": failed, "seconds": took}))
