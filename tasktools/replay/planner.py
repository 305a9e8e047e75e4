"""The rows of plans: what would happen to each row of a frame."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from tasktools.core import untrusted
from tasktools.core.errors import InvalidPlan
from tasktools.core.escaping import cut, exact
from tasktools.core.lazy_imports import pd
from tasktools.core.plans import EXPIRED, Change, Planned, kind_of_source
from tasktools.core.redaction import Redaction
from tasktools.core.tasks import edits as editing
from tasktools.core.timespans import in_words
from tasktools.replay.target_readers import Readers

Edits = (
    Mapping[str, Any] | Mapping[str, Mapping[str, Any]] | Callable[[Any], Mapping[str, Any] | None]
)
"""New values by path; or those by the key of a row; or a function of a row that returns them."""

_NEEDED_COLUMNS: Final = ("key", "queue")
_NEEDED_BY_PEERS: Final = {"task_name", "func_name"}
_MAX_VALUE_CHARS: Final = 80
_EXPIRES_AT: Final = "expires_at"


def source_of(frame: pd.DataFrame) -> str:
    """Return the queue that the rows of *frame* lie in. Raises `InvalidPlan`."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidPlan(
            f"A plan is made of a frame, not of a {type(frame).__name__}; nothing was done. "
            "Select rows of cluster.dead_letters(), as in dead[dead['error_type'] == 'Timeout']."
        )
    missing = [name for name in _NEEDED_COLUMNS if name not in frame.columns]
    if missing:
        raise InvalidPlan(
            f"The frame has no column {' and '.join(missing)}; nothing was done. Make the plan of "
            "rows of cluster.dead_letters() or cluster.peek()."
        )
    if frame.empty:
        raise InvalidPlan("No messages were chosen (the frame has no rows); nothing was done.")
    queues = sorted(set(frame["queue"].dropna()))
    if len(queues) != 1:
        raise InvalidPlan(
            f"The rows lie in {len(queues)} queues ({', '.join(queues)}); nothing was done. Make "
            "one plan for each."
        )
    if frame["key"].isna().any() or frame["key"].duplicated().any():
        raise InvalidPlan(
            "The keys of the rows are not unique; nothing was done. A plan takes each message "
            "once: drop_duplicates('key')."
        )
    return f"{queues[0]}"


def is_stored(frame: pd.DataFrame) -> bool:
    """Whether the rows of *frame* are of a recording or a tap, and lie in no queue."""
    if not isinstance(frame, pd.DataFrame) or frame.empty or "queue" not in frame.columns:
        return False
    return "failed_at" in frame.columns or kind_of_source(f"{frame['queue'].iloc[0]}") != "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """Edits and checks of the rows of a plan.

    With *undecodable*, messages are sent although their *readers* may not be able to read them, or
    may drop them since they have expired *now*.
    """

    edits: Edits | None
    undecodable: bool
    signature: Callable[[str], inspect.Signature | None]
    readers: Readers
    redaction: Redaction
    now: datetime


def copies(frame: pd.DataFrame, to: str | None, rules: RowRules) -> Iterator[Planned]:
    """Yield the planned action for each message of a recording or a tap, topic by topic in the
    order of failure or publication; copies of a message count once. Raises `InvalidPlan`."""
    if frame["key"].isna().any():
        raise InvalidPlan(
            f"The messages of {frame['key'].isna().sum():,} of the rows were not kept; nothing was "
            "done. Choose others: frame[frame['key'].notna()]. A recorder keeps them with "
            "record(…, bodies=True)."
        )
    order = "failed_at" if "failed_at" in frame.columns else "position"
    once = frame.sort_values(order).drop_duplicates("key", keep="last")
    source_of(once)
    if to is not None:
        yield from chosen(once, to, rules)
        return
    if once["topic"].isna().any():
        raise InvalidPlan("Rows do not say their topic; nothing was done. Say where to: to=…")
    for topic, rows in once.groupby("topic"):
        yield from chosen(rows, f"{topic}", rules)


def chosen(frame: pd.DataFrame, to: str | None, rules: RowRules) -> Iterator[Planned]:
    """Yield the planned action for each row, in the order of the queue."""
    ordered = frame.sort_values("position") if "position" in frame.columns else frame
    edits = _Edits(rules.edits, frame)
    for row in ordered.itertuples(index=False):
        planned = _planned(row, to, unchecked=to is not None and rules.undecodable)
        why = None
        if to is not None and not rules.undecodable:
            why = _unreadable(row, to, edits.of(row), rules.readers)
        if why is not None:
            yield replace(planned, skipped=why)
            continue
        if rules.edits is not None:
            planned = _edited(planned, row, edits.of(row), rules)
        if planned.has_expired(rules.now) and planned.skipped is None and not planned.unchecked:
            planned = replace(planned, skipped=EXPIRED)
        yield planned


def warnings(frame: pd.DataFrame, rows: Sequence[Planned], now: datetime) -> Iterator[str]:
    """Yield warnings about expired messages in *rows*, and about the messages that they send."""
    sent = frame[frame["key"].isin([row.key for row in rows if row.skipped is None])]
    if "ttl" in sent.columns and sent["ttl"].notna().any():
        ttl = sent["ttl"].dropna().dt.total_seconds()
        span = " to ".join(dict.fromkeys(map(in_words, (ttl.min(), ttl.max()))))
        yield (
            f"{len(ttl):,} had a time to live of {span} before they died: they are sent without "
            "one, so they do not expire again"
        )
    expired = sum(row.skipped == EXPIRED for row in rows)
    past = sum(row.skipped is None and row.has_expired(now) for row in rows)
    if past:
        yield f"{past:,} have expired, so their workers drop them unrun"
    if expired:
        yield (
            f"{expired:,} have expired and are not sent; to send them, make the plan with "
            'edits={"expires_at": tt.REMOVE} (on the command line --remove expires_at), or with a '
            "new time instead"
        )


def homeward(frame: pd.DataFrame, homes: Sequence[str], rules: RowRules) -> Iterator[Planned]:
    """Yield the planned action for each row of a queue with dead letters of several topics, the
    *homes*: each message goes back to the topic in which it died. Raises `InvalidPlan`."""
    if len(homes) == 1:
        yield from chosen(frame, homes[0], rules)
        return
    lost = ~frame["topic"].isin(list(homes)) if "topic" in frame.columns else [True]
    if any(lost):
        raise InvalidPlan(
            f"The rows do not all say from which of {', '.join(homes)} they come; nothing was "
            "done. Say where they go: to=…"
        )
    ordered = frame.sort_values("position") if "position" in frame.columns else frame
    for topic, rows in ordered.groupby("topic", sort=False):
        yield from chosen(rows, f"{topic}", rules)


def _unreadable(row: Any, to: str, edits: Mapping[str, Any], readers: Readers) -> str | None:
    """Return why workers of *to* could not read the message of *row*, as far as the row shows."""
    is_mended = bool(edits.keys() & _NEEDED_BY_PEERS)  # the run checks what the edits make of it
    return readers.problem_of_row(
        to,
        dialect=_text(row, "dialect"),
        problem=_text(row, "problem"),
        unreadable=None if is_mended else _text(row, "unreadable"),
        died=_number(row, "deaths") > 0,
    )


def _planned(row: Any, to: str | None, *, unchecked: bool) -> Planned:
    return Planned(
        key=f"{row.key}",
        task_id=_text(row, "task_id"),
        task_name=_text(row, "task_name"),
        fingerprint=_text(row, "fingerprint"),
        to=to,
        size=_number(row, "size"),
        unchecked=unchecked,
        dialect=_text(row, "dialect"),
        expires_at=None if to is None else _time(row, _EXPIRES_AT),
    )


def _edited(
    planned: Planned,
    row: Any,
    edits: Mapping[str, Any],
    rules: RowRules,
) -> Planned:
    if not edits:
        return planned
    values = row._asdict()
    why = _unfitting(values, edits) or _misfit(values, edits, rules.signature)
    changes = tuple(
        Change(path, _shown(before), _shown(after))
        for path, before, after in editing.before_after(values, edits, rules.redaction)
    )
    if _EXPIRES_AT in edits:
        planned = replace(planned, expires_at=untrusted.time(edits[_EXPIRES_AT]))
    return replace(planned, edits=editing.to_json(edits), changes=changes, skipped=why)


def _unfitting(row: Mapping[str, Any], edits: Mapping[str, Any]) -> str | None:
    """Return why an edit does not fit the message, as far as the row shows."""
    parents = {path.rpartition(".")[0]: path for path in edits if path.count(".") > 1}
    for parent, value, _ in editing.before_after(row, dict.fromkeys(parents)):
        if value is editing.NOT_THERE:
            return f"{parents[parent]} has no place in it: there is no {parent}"
    return None


def _misfit(
    row: Mapping[str, Any],
    edits: Mapping[str, Any],
    signature: Callable[[str], inspect.Signature | None],
) -> str | None:
    """Return why the edited arguments do not suit the task's function, if that is known."""
    name = edits.get("func_name") or edits.get("task_name") or row.get("task_name")
    args, kwargs = row.get("args"), row.get("kwargs")
    known = signature(name) if isinstance(name, str) else None
    if known is None or not isinstance(args, list) or not isinstance(kwargs, dict):
        return None
    why = editing.misfit(known, *_arguments(args, kwargs, edits))
    return None if why is None else f"does not suit {name}: {why}"


def _arguments(
    args: list[Any], kwargs: dict[str, Any], edits: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments after *edits*, with the right number and names; edits inside values are
    left out."""
    by_place: dict[str, Any] = dict(zip(map(str, range(len(args))), args, strict=True))
    by_name = dict(kwargs)
    for path, value in edits.items():
        field, _, inner = path.partition(".")
        if path == "args":
            by_place = dict.fromkeys(map(str, range(len(value))))
        elif path == "kwargs":
            by_name = dict(value)
        elif field in ("args", "kwargs") and "." not in inner:
            into = by_place if field == "args" else by_name
            if value is editing.REMOVE:
                into.pop(inner, None)
            else:
                into[inner] = value
    return list(by_place.values()), by_name


def _shown(value: Any) -> str:
    return cut(repr(value), _MAX_VALUE_CHARS)


class _Edits:
    """The edits of each row, from whatever form the caller passed."""

    def __init__(self, edits: Edits | None, frame: pd.DataFrame) -> None:
        self._function = edits if callable(edits) else None
        self._by_key: dict[str, dict[str, Any]] = {}
        self._all: dict[str, Any] = {}
        if edits is None or callable(edits):
            return
        keys = set(frame["key"])
        if edits and all(
            key in keys and isinstance(of_row, Mapping) for key, of_row in edits.items()
        ):
            self._by_key = {key: editing.checked(of_row) for key, of_row in edits.items()}
        else:
            self._all = editing.checked(edits)

    def of(self, row: Any) -> Mapping[str, Any]:
        """Return the edits of *row*."""
        if self._function is not None:
            return editing.checked(self._function(row) or {})
        return self._by_key.get(row.key, {}) if self._by_key else self._all


def _text(row: Any, name: str) -> str | None:
    value = getattr(row, name, None)
    return exact(value) if isinstance(value, str) else None


def _time(row: Any, name: str) -> datetime | None:
    value = getattr(row, name, None)
    return None if value is None or pd.isna(value) else untrusted.time(value.isoformat())


def _number(row: Any, name: str) -> int:
    value = getattr(row, name, 0)
    return 0 if pd.isna(value) else int(value)
