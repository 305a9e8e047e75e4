"""Headers in which clients of other languages say why a message failed.

Spring AMQP (`RepublishMessageRecoverer`), MassTransit (queues ``…_error``) and NServiceBus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tasktools.core import untrusted
from tasktools.core.dialects import tracebacks
from tasktools.core.models import ReportedError

_TYPE_TEXT_STACK: Final = (
    ("MT-Fault-ExceptionType", "MT-Fault-Message", "MT-Fault-StackTrace"),
    (
        "NServiceBus.ExceptionInfo.ExceptionType",
        "NServiceBus.ExceptionInfo.Message",
        "NServiceBus.ExceptionInfo.StackTrace",
    ),
)
_SPRING_TEXT, _SPRING_STACK = "x-exception-message", "x-exception-stacktrace"


def reported(headers: Mapping[str, Any]) -> ReportedError | None:
    """Return the error that *headers* report; `None` if they report none.

    >>> reported({"MT-Fault-ExceptionType": "Shop.OutOfStock", "MT-Fault-Message": "no. 7"})
    ReportedError(error_type='Shop.OutOfStock', text='no. 7', traceback=None)
    """
    for names in _TYPE_TEXT_STACK:
        error_type, text, stack = (untrusted.text(headers.get(name)) for name in names)
        if error_type or text:
            return ReportedError(error_type=error_type, text=text, traceback=stack)
    return _spring(headers)


def _spring(headers: Mapping[str, Any]) -> ReportedError | None:
    text, stack = (untrusted.text(headers.get(name)) for name in (_SPRING_TEXT, _SPRING_STACK))
    if text is None and stack is None:
        return None
    error_type, cause = (None, None) if stack is None else tracebacks.root_cause(stack)
    return ReportedError(error_type=error_type, text=cause or text, traceback=stack)
