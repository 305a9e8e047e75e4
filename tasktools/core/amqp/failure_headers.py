"""Failures as AMQP headers of a dead letter.

All are plain strings (streams drop everything else), written for whoever looks at the message
with any tool, and bounded, since a header frame may have 128 KiB at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from tasktools.core import untrusted
from tasktools.core.escaping import cut, last_lines
from tasktools.core.models import Failure, FailureReason

REASON: Final = "x-tasktools-reason"
ERROR_TYPE: Final = "x-tasktools-error-type"
ERROR: Final = "x-tasktools-error"
TRACEBACK: Final = "x-tasktools-traceback"
WORKER: Final = "x-tasktools-worker"
FAILED_AT: Final = "x-tasktools-failed-at"
ATTEMPTS: Final = "x-tasktools-attempts"
HEADERS: Final = (REASON, ERROR_TYPE, ERROR, TRACEBACK, WORKER, FAILED_AT, ATTEMPTS)
"""All headers that say why a message failed; a second failure replaces them."""

_REASONS: Final = get_args(FailureReason)
_MAX_ERROR_CHARS: Final = 2_000
_MAX_TRACEBACK_CHARS: Final = 16_000


def to_headers(failure: Failure) -> dict[str, str]:
    """Return *failure* as headers; a long traceback is cut to its end, where the error is."""
    texts = {
        REASON: failure.reason,
        ERROR_TYPE: cut(failure.error_type, _MAX_ERROR_CHARS),
        ERROR: cut(failure.error, _MAX_ERROR_CHARS),
        TRACEBACK: failure.traceback and last_lines(failure.traceback, _MAX_TRACEBACK_CHARS),
        WORKER: failure.worker_id,
        FAILED_AT: failure.failed_at.isoformat(),
        ATTEMPTS: None if failure.attempts is None else str(failure.attempts),
    }
    return {
        name: text.encode("utf-8", "replace").decode()
        for name, text in texts.items()
        if text is not None
    }


def from_headers(headers: Mapping[str, Any]) -> Failure | None:
    """Return the failure in *headers*, or `None` when no worker of tasktools wrote one."""
    reason: Any = headers.get(REASON)
    if reason not in _REASONS:
        return None
    failed_at = untrusted.time(headers.get(FAILED_AT))
    if failed_at is None:
        return None
    attempts = untrusted.text(headers.get(ATTEMPTS)) or ""
    return Failure(
        reason=reason,
        error_type=untrusted.text(headers.get(ERROR_TYPE)) or "",
        error=untrusted.text(headers.get(ERROR)) or "",
        failed_at=failed_at,
        traceback=untrusted.text(headers.get(TRACEBACK)),
        worker_id=untrusted.text(headers.get(WORKER)),
        attempts=int(attempts) if attempts.isascii() and attempts.isdigit() else None,
    )
