"""One dead letter in full, as HTML: what its row tells, and once it was fetched all the rest."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

import msgspec
import pandas as pd

from tasktools.core import failures
from tasktools.core.models import Death, SeenMessage
from tasktools.widgets.table.columns import is_missing
from tasktools.widgets.triage.orders import Whole

_LONGEST: Final = 20_000
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
_ELSEWHERE: Final = (failures.TRACEBACK, "x-death")
_GONE: Final = "The message is not in the queue any more. Look again."
_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """What is known of one dead letter: its row, the whole message, and why that was refused.

    Secrets are masked in both already, unless they are to be shown.
    """

    row: Mapping[Hashable, Any]
    whole: Whole | None = None
    refusal: str = ""


def html(detail: Detail | None) -> str:
    """Return *detail* as it is shown. What comes from the message is text in it, always."""
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
        said = f"This is no task: {row['problem']}. It cannot be edited, and a replay skips it."
        yield f'<div class="tt-error">{escape(said)}</div>'
    told = [str(row[name]) for name in ("error_type", "error") if not is_missing(row[name])]
    if told:
        yield f'<div class="tt-error">{escape(": ".join(told))}</div>'
    yield _facts((title, row[name]) for title, name in _FACTS)


def _body(row: Mapping[Hashable, Any]) -> Iterator[str]:
    for name in ("args", "kwargs", "headers"):
        value = row[name]
        if isinstance(value, list | dict) and (value or name == "kwargs"):
            yield _section(name, _pre(as_text(value)))


def _whole(message: SeenMessage | None) -> Iterator[str]:
    if message is None:
        yield f'<div class="tt-error">{_GONE}</div>'
        return
    failure = failures.from_headers(message.properties.headers)
    if failure is not None and failure.traceback:
        yield _section("traceback", _pre(_cut(failure.traceback)))
    if message.deaths:
        yield _section("deaths", _deaths(message.deaths))
    told = {
        name: getattr(message.properties, name)
        for name in message.properties.__struct_fields__
        if name != "headers" and getattr(message.properties, name) is not None
    }
    yield _section("AMQP properties", _facts(told.items()))
    shown = {k: v for k, v in message.properties.headers.items() if k not in _ELSEWHERE}
    if shown:
        yield _section("AMQP headers", _pre(as_text(shown)))


def _deaths(deaths: tuple[Death, ...]) -> str:
    heads = "".join(
        f"<th>{head}</th>" for head in ("queue", "reason", "times", "first", "exchange", "keys")
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(_text(value))}</td>"
            for value in (d.queue, d.reason, d.count, d.time, d.exchange, ", ".join(d.routing_keys))
        )
        + "</tr>"
        for d in deaths
    )
    return f'<table class="tt-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _facts(told: Any) -> str:
    items = "".join(
        f'<div><span class="tt-quiet">{escape(title)}</span> {escape(_text(value))}</div>'
        for title, value in told
        if not is_missing(value)
    )
    return f'<div class="tt-facts">{items}</div>'


def _section(title: str, content: str) -> str:
    return f'<div class="tt-part"><div class="tt-title">{title}</div>{content}</div>'


def _pre(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>'


def _text(value: Any) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, datetime | pd.Timestamp):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:,}" if isinstance(value, int) else _cut(str(value))


def as_text(value: Any) -> str:
    """Return *value* as JSON for people, with masks as such; of what is long the beginning."""
    try:
        compact = _ENCODER.encode(value).decode()
    except (TypeError, ValueError, RecursionError):  # a lone surrogate, say
        return _cut(ascii(value))
    if len(compact) > _LONGEST:
        return _cut(compact)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} … [+{more:,} characters]"
