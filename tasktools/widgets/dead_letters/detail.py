"""One dead letter as HTML: the values of its row, and the whole message once it was fetched."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

import msgspec
import pandas as pd

from tasktools.core.amqp import failure_headers
from tasktools.core.escaping import shortened
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import Death, SeenMessage
from tasktools.widgets.dead_letters.requests import WholeMessage
from tasktools.widgets.html import cell, facts, table, title
from tasktools.widgets.table.columns import is_missing

_MAX_CHARS: Final = 20_000
_FACTS: Final = (
    ("task id", "task_id"),
    ("topic", "topic"),
    ("reason", "reason"),
    ("deaths", "deaths"),
    ("first death", "first_death"),
    ("last death", "last_death"),
    ("published", "published_at"),
    ("attempts", "attempts"),
    ("replays", "replays"),
    ("bytes", "size"),
    ("place in the queue", "position"),
)
_SHOWN_ELSEWHERE: Final = (failure_headers.TRACEBACK, "x-death")
_MESSAGE_GONE: Final = "The message is not in the queue any more. Look again."
_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detail(MaskedRepr):
    """The row of a dead letter, the whole message if it was fetched, and why that was refused.

    Secrets are already masked in both, unless the cluster shows them.
    """

    row: Mapping[Hashable, Any]
    whole: WholeMessage | None = None
    refusal: str = ""


def html(detail: Detail | None) -> str:
    """Return *detail* as HTML, with all text of the message escaped."""
    if detail is None:
        return '<div class="tt-quiet">Click on a row to see the whole of it.</div>'
    parts = [*_about(detail.row), *_body(detail.row)]
    if detail.whole is not None:
        parts += _whole(detail.whole.message)
    if detail.refusal:
        parts.append(f'<div class="tt-error" role="alert">{escape(detail.refusal)}</div>')
    return f'<div class="tt-detail">{"".join(parts)}</div>'


def _about(row: Mapping[Hashable, Any]) -> Iterator[str]:
    name = "no task" if is_missing(row["task_name"]) else str(row["task_name"])
    yield f'<div class="tt-name">{escape(name)} <span class="tt-quiet">{escape(row["key"])}</span>'
    yield "</div>"
    if not is_missing(row["problem"]):
        problem = f"This is no task: {row['problem']}. It cannot be edited, and a replay skips it."
        yield f'<div class="tt-error">{escape(problem)}</div>'
    error = [str(row[name]) for name in ("error_type", "error") if not is_missing(row[name])]
    if error:
        yield f'<div class="tt-error">{escape(": ".join(error))}</div>'
    yield _facts((label, row[name]) for label, name in _FACTS)


def _body(row: Mapping[Hashable, Any]) -> Iterator[str]:
    for name in ("args", "kwargs", "headers"):
        value = row[name]
        if isinstance(value, list | dict) and (value or name == "kwargs"):
            yield _section(name, _pre(as_text(value)))


def _whole(message: SeenMessage | None) -> Iterator[str]:
    if message is None:
        yield f'<div class="tt-error">{_MESSAGE_GONE}</div>'
        return
    failure = failure_headers.from_headers(message.properties.headers)
    if failure is not None and failure.traceback:
        yield _section("traceback", _pre(shortened(failure.traceback, _MAX_CHARS)))
    if message.deaths:
        yield _section("deaths", _deaths(message.deaths))
    properties = {
        name: getattr(message.properties, name)
        for name in message.properties.__struct_fields__
        if name != "headers" and getattr(message.properties, name) is not None
    }
    yield _section("AMQP properties", _facts(properties.items()))
    shown = {k: v for k, v in message.properties.headers.items() if k not in _SHOWN_ELSEWHERE}
    if shown:
        yield _section("AMQP headers", _pre(as_text(shown)))


def _deaths(deaths: tuple[Death, ...]) -> str:
    rows = (
        (d.queue, d.reason, d.count, d.time, d.exchange, ", ".join(d.routing_keys)) for d in deaths
    )
    headings = ("queue", "reason", "times", "first", "exchange", "keys")
    return table(headings, ((cell(_text(value)) for value in row) for row in rows))


def _facts(values: Iterable[tuple[str, Any]]) -> str:
    return facts((name, _text(value)) for name, value in values if not is_missing(value))


def _section(name: str, content: str) -> str:
    return f'<div class="tt-part">{title(name)}{content}</div>'


def _pre(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>'


def _text(value: Any) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, datetime | pd.Timestamp):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:,}" if isinstance(value, int) else shortened(str(value), _MAX_CHARS)


def as_text(value: Any) -> str:
    """Return *value* as readable JSON; of a long one only the beginning."""
    try:
        compact = _ENCODER.encode(value).decode()
    except (TypeError, ValueError, RecursionError):  # for example a lone surrogate
        return shortened(ascii(value), _MAX_CHARS)
    if len(compact) > _MAX_CHARS:
        return shortened(compact, _MAX_CHARS)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
