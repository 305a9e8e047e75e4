"""Commands to Celery's workers in the format of its pidbox, and the workers' replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tasktools.core import untrusted
from tasktools.core.escaping import cut

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_MAX_REPLY_CHARS: Final = 500

EXCHANGE: Final = "celery.pidbox"
"""The fanout over which workers get commands and questions."""
EVENTS_SETTING: Final = (
    "start them with -E, set worker_send_task_events, or call cluster.enable_task_events() "
    "(on the command line: tasktools enable-task-events)"
)
"""The ways to let workers send events of their tasks."""
SILENT: Final = frozenset({"shutdown"})
"""Commands that no worker replies to."""


def _resized(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    by = params["by"]
    return ("pool_grow" if by > 0 else "pool_shrink"), {"n": abs(by)}


_REQUESTS: Final[dict[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]]] = {
    "join_topic": lambda params: ("add_consumer", {"queue": params["topic"]}),
    "leave_topic": lambda params: ("cancel_consumer", {"queue": params["topic"]}),
    "shutdown": lambda _: ("shutdown", {}),
    "resize_pool": _resized,
    "rate_limit": lambda params: (
        "rate_limit",
        {"task_name": params["task_name"], "rate_limit": params["rate"]},
    ),
    "time_limit": lambda params: ("time_limit", dict(params)),
    "revoke": lambda params: ("revoke", {**params, "signal": "SIGTERM"}),
    "enable_task_events": lambda _: ("enable_events", {}),
}
COMMANDS: Final = tuple(_REQUESTS)
"""The actions that Celery's workers carry out."""


def pidbox(worker_id: str) -> str:
    """Return the queue in which a worker gets commands: exclusive, and bound as long as the worker
    lives."""
    return f"{worker_id}.{EXCHANGE}"


def request(action: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method of the pidbox that does *action*, and its arguments."""
    return _REQUESTS[action](params)


def replies(body: bytes) -> dict[str, str | None]:
    """Return for each worker why it refused a command, or `None` if it carries the command out."""
    try:
        decoded = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {worker: _refusal(reply) for worker, reply in decoded.items()}


def _refusal(reply: object) -> str | None:
    if isinstance(reply, dict) and "ok" in reply:
        return None
    error = untrusted.text(untrusted.mapping(reply).get("error"))
    return cut(error or "it gave no reason", _MAX_REPLY_CHARS)
