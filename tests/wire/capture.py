"""Write the samples anew, from real Celery and Dramatiq on a private node:
``python -m tests.wire.capture``.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tasktools.testing import RabbitMQNode, eventually
from tests.peer.celery_peer import CeleryPeer, celery_python
from tests.peer.dramatiq_peer import DramatiqPeer
from tests.vhosts import Vhost, fresh_vhost
from tests.wire.samples import FOLDER, Sample
from tests.wire.tap import Tap

_ROOT: Final = Path(__file__).parents[2]
_HOUR: Final = 3600
_WHEN: Final = {"__type__": "datetime", "__value__": "2026-11-30T12:00:00+00:00"}
_BYTES: Final = {"__type__": "base64", "__value__": "//79"}
_MAIL: Final = {"to": "a@b", "cart": [{"id": 7, "price": 1.5}], "note": "h\u00e9 \U0001f600"}
_OPTIONS: Final[Mapping[str, dict[str, Any]]] = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "base64": {"serializer": "base64"},
    "pickle": {"serializer": "pickle"},
    "protocol 1": {"protocol": 1},
    "protocol 1, eta": {"protocol": 1, "countdown": _HOUR},
    "eta": {"countdown": _HOUR},
    "expires": {"expires": _HOUR},
    "chain": {"chain": [["shop.report", [3]], ["shop.send_email", [], {"to": "c@d"}]]},
    "priority and headers": {"priority": 9, "headers": {"tenant": "acme", "tries": [1, 2.5]}},
    "time limits": {"time_limit": 60, "soft_time_limit": 30.5},
    "shadow": {"shadow": "shop.newsletter", "ignore_result": True},
}


def main() -> None:
    """Capture and write."""
    with RabbitMQNode() as node:
        server = f"RabbitMQ {node.request('GET', '/api/overview')['rabbitmq_version']}"
        for name, capture, release in (
            ("celery", _celery, f"Celery {_celery_version()}"),
            ("dramatiq", _dramatiq, f"Dramatiq {version('dramatiq')}"),
        ):
            with fresh_vhost(node) as vhost, tempfile.TemporaryDirectory() as folder:
                kinds = capture(node, vhost, Path(folder))
            _write(name, f"{release}, {server}", kinds)


def _celery_version() -> str:
    command = [str(celery_python()), "-c", "import celery; print(celery.__version__)"]
    return subprocess.check_output(command, text=True).strip()


def _write(name: str, made_with: str, kinds: Mapping[str, Iterable[Sample]]) -> None:
    parts = [f'"made with": {json.dumps(made_with)}']
    for kind, samples in kinds.items():
        lines = ",\n".join(_anonymous(sample).as_json() for sample in samples)
        parts.append(f'"{kind}": [\n{lines}\n]')
    (FOLDER / f"{name}.json").write_text("{" + ",\n".join(parts) + "}\n")


def _anonymous(sample: Sample) -> Sample:
    """Return the sample without names of this machine; properties keep their length."""
    host = b"@" + socket.gethostname().encode()  # as a client names itself: gen4711@HOST
    stand_in = (b"@shop-client" * len(host))[: len(host)]
    body = sample.body.replace(host, stand_in)
    for folder in (celery_python().parents[1].resolve(), celery_python().parents[1], _ROOT):
        body = body.replace(str(folder).encode(), b"/srv/shop")
    return replace(sample, raw=sample.raw.replace(host, stand_in), body=body)


# --- Celery ---------------------------------------------------------------------------


def _celery(node: RabbitMQNode, vhost: Vhost, folder: Path) -> Mapping[str, Iterable[Sample]]:
    with CeleryPeer(node, vhost, folder) as peer, closing(Tap(vhost.dsn)) as tap:
        events = tap.bind("celeryev", "topic", "#", durable=True)
        tasks = list(_published(peer, tap))
        sent = [each for each in tap.all(events) if each.name == "task.sent"][:2]
        answered = _Answered(peer, tap)
        tasks += _worked_on(peer, tap, answered)
        of_workers = [each for each in tap.all(events) if each.name != "task.sent"]
        return {
            "tasks": tasks,
            "events": sent + of_workers,
            "requests": answered.requests,
            "replies": answered.replies,
        }


def _published(peer: CeleryPeer, tap: Tap) -> Iterator[Sample]:
    """Yield messages as Celery's client publishes them."""
    for name, options in _OPTIONS.items():
        yield _one(peer, tap, name, "shop.send_email", _MAIL, dict(options))
    typed = {"to": "a@b", "when": _WHEN, "attachment": _BYTES}
    yield _one(peer, tap, "types of Python", "shop.send_email", typed, {})
    yield _one(peer, tap, "pickled types of Python", "shop.send_email", typed, _OPTIONS["pickle"])


def _one(
    peer: CeleryPeer,
    tap: Tap,
    name: str,
    task: str,
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    queue: str = "mail",
) -> Sample:
    """Send a task, and take its message out of *queue*."""
    task_id = peer.submit(task, _options=dict(options), **kwargs)
    sample = tap.next(queue, name, id=task_id, task=task, args=[], kwargs=kwargs)
    assert sample.properties.correlation_id == task_id
    return sample


class _Answered:
    """Requests of Celery's client to its workers, and the replies."""

    def __init__(self, peer: CeleryPeer, tap: Tap) -> None:
        self._client = peer.client
        self._tap = tap
        self._queue = tap.bind("celery.pidbox", "fanout", "", durable=False)
        self._replies = tap.bind("reply.celery.pidbox", "direct", "tap", durable=False)
        self.requests: list[Sample] = []
        self.replies: list[Sample] = []

    def ask(self, method: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Let the client ask, ask the same again with replies to us, and return the reply."""
        assert self._client("control", method, arguments)
        request = self._hear(method)
        self.requests.append(request)
        again = request.value
        again["reply_to"]["routing_key"] = "tap"
        self._tap.send(replace(request, body=json.dumps(again).encode()))
        reply = self._tap.next(self._replies, method)
        self._hear(method)
        self.replies.append(reply)
        return reply.value

    def tell(self, method: str) -> None:
        """Let the client give a command that nobody answers."""
        self._client(method)
        self.requests.append(self._hear(method))

    def _hear(self, method: str) -> Sample:
        """Return the next request for *method*; workers ask each other, too."""
        return eventually(
            lambda: next(
                (
                    replace(request, name=method)
                    for request in self._tap.all(self._queue)
                    if request.value["method"] == method
                ),
                None,
            )
        )


def _worked_on(peer: CeleryPeer, tap: Tap, answered: _Answered) -> Iterator[Sample]:
    """Let a worker have tasks of all fates, and yield the messages that it left."""
    revoked = str(uuid.uuid4())
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    peer.start_worker()
    peer.until_ready()
    answered.ask("revoke", {"task_id": revoked})
    peer.submit("shop.send_email", to="a@b", _options={"task_id": revoked})
    peer.submit("shop.send_email", to="a@b", _options={"expires": past})
    peer.submit("shop.send_email", to="a@b", note="x" * 2000)
    peer.submit("shop.fail", text="<b>boom</b>")
    peer.submit("shop.charge", 17)
    retried = peer.submit("shop.charge", 18, countdown=_HOUR)
    by_policy = {"queue": "reports"}
    yield _one(peer, tap, "dead by argument", "shop.refuse", {}, {}, "mail.dlq")
    yield _one(peer, tap, "dead by policy", "shop.refuse", {}, by_policy, "reports.dlq")
    yield _one(peer, tap, "dead of a failure", "shop.fail_late", {"text": "late"}, {}, "mail.dlq")
    yield _one(peer, tap, "dead without a task", "shop.no_such_task", _MAIL, {}, "mail.dlq")
    for number in range(4):
        peer.submit("shop.held", f"h{number}@b")
    beats = tap.bind("celeryev", "topic", "worker.heartbeat", durable=True)
    eventually(lambda: any(beat.value["active"] == 2 for beat in tap.all(beats)))
    eventually(lambda: answered.ask("scheduled")["w0@shop"])
    answered.requests.clear()
    answered.replies.clear()
    for method, arguments in _REQUESTS:
        answered.ask(method, arguments)
    peer.let_go()
    eventually(lambda: sum(line["task"] == "shop.held" for line in peer.executed()) == 4)
    answered.tell("shutdown")
    peer.workers[-1].wait(60)
    task_of = {"id": retried, "task": "shop.charge", "args": [18], "kwargs": {"countdown": _HOUR}}
    yield tap.next("mail", "retried by a worker that has ended", **task_of)


_REQUESTS: Final = (
    *((method, None) for method in ("ping", "stats", "active", "reserved", "scheduled")),
    *((method, None) for method in ("active_queues", "revoked", "registered")),
    ("query_task", {"ids": ["no-such-id"]}),
    ("revoke", {"task_id": "5f2c1b9a-4c59-4f0e-9d8e-3c3d1f0e7a11"}),
    ("rate_limit", {"task_name": "shop.send_email", "rate_limit": "10/s"}),
    ("time_limit", {"task_name": "shop.send_email", "hard": 60, "soft": 30}),
    ("pool_grow", {"n": 1}),
    ("pool_shrink", {"n": 1}),
    ("add_consumer", {"queue": "extra"}),
    ("cancel_consumer", {"queue": "extra"}),
    ("disable_events", None),
    ("enable_events", None),
    ("no_such_command", None),
)


# --- Dramatiq -------------------------------------------------------------------------


def _dramatiq(_node: RabbitMQNode, vhost: Vhost, folder: Path) -> Mapping[str, Iterable[Sample]]:
    with DramatiqPeer(vhost, folder) as peer, closing(Tap(vhost.dsn)) as tap:
        return {"tasks": list(_messages(peer, tap))}


def _messages(peer: DramatiqPeer, tap: Tap) -> Iterator[Sample]:
    def submit(actor: str, *args: Any, _options: dict[str, Any] | None = None) -> dict[str, Any]:
        kwargs = {"amount": 1.5} if actor == "charge" else {}
        message_id = peer.submit(actor, *args, _options=_options, **kwargs)
        return {"id": message_id, "task": actor, "args": list(args), "kwargs": kwargs}

    yield tap.next("orders", "plain", **submit("charge", "h\u00e9 \U0001f600"))
    options = {"broker_priority": 5, "tenant": "acme"}
    yield tap.next("orders", "priority and options", **submit("charge", 2, _options=options))
    delayed = submit("charge", 3, _options={"delay": _HOUR * 1000})
    yield tap.next("orders.DQ", "delayed", **delayed)
    retried = submit("fail_slowly", 4)
    peer.start_worker()
    yield tap.next("orders.XQ", "dead after a retry", **submit("fail", 5, "<b>boom</b>"))
    yield tap.next("orders.XQ", "dead at the first failure", **submit("fail_once", 6))
    yield tap.next("orders.XQ", "dead without an actor", **submit("no_such_actor", 7))
    eventually(lambda: peer.executed(retried["id"]))
    peer.workers[-1].terminate()
    peer.workers[-1].wait(60)
    yield tap.next("orders.DQ", "retried by a worker that has ended", **retried)


if __name__ == "__main__":
    main()
