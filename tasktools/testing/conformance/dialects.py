"""The promises of every dialect, as tests that a dialect of your own inherits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import pytest

from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.clock import ManualClock, moment
from tasktools.core.dialects import registry
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.errors import InvalidTask
from tasktools.core.models import Outgoing, Properties, TaskMessage
from tasktools.core.tasks import codec
from tasktools.core.tasks.amendment import amended
from tasktools.core.tasks.compose import Composer, FunctionNames

Written = tuple[bytes, Properties]
"""A message, as it lies in its queue."""
_TOPIC: Final = "mail"
_NAME: Final = "shop.mail:send"
_LATER: Final = datetime(2999, 12, 31, tzinfo=UTC)
_HEADERS: Final = {"own-text": "hé", "own-number": 7}
_EDITS: Final[Mapping[str, tuple[str, Any]]] = {
    "args": ("args.0", [None, "é"]),
    "kwargs": ("kwargs.added", {"to": "a@b"}),
    "task_name": ("task_name", "edited"),
    "headers": ("headers.own-added", "hé"),
    "attempts": ("attempts", 3),
    "max_retries": ("max_retries", 5),
    "retry_delay": ("retry_delay", 2),
    "expires_at": ("expires_at", _LATER.isoformat()),
}
_STRANGE: Final[Sequence[Any]] = (
    None, True, -1, 1.5, 10**400, "", "\ud800", "x" * 10_000, [], [[]], {}, {"": {}},
)  # fmt: skip
_NO_BODIES: Final = (
    b"", b"\x00", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":' * 20_000, b"7", b'"text"', b"null",
    b"[]", b"{}", b"[[],{},{}]", b"NaN", b"9" * 5_000, "{}".encode("utf-16"), b"\x80\x04.",
    b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}',
)  # fmt: skip


class DialectConformance:
    """The behaviour of every `Dialect`. A subclass names its *dialect*, and messages of it.

    *written* are messages as its workers have put them into their queues. If the dialect resets
    anything, at least one of these messages must be a dead letter. *arguments* are published; a
    dialect without positional or keyword arguments overrides them.
    """

    dialect: ClassVar[Dialect]
    written: ClassVar[Sequence[Written]]
    arguments: ClassVar[Sequence[tuple[list[Any], dict[str, Any]]]] = (
        ([], {}),
        ([1, "é", None, [True]], {}),
        ([], {"to": "a@b", "big": 2**53, "deep": {"list": [1.5, {}]}}),
        ([7], {"ü": ""}),
    )

    # --- its name ------------------------------------------------------------------------

    def test_it_has_a_name_of_its_own(self) -> None:
        assert self.dialect.name.isidentifier()
        assert self.dialect.title
        assert registry.find(self.dialect.name) in (None, self.dialect)

    # --- reading -------------------------------------------------------------------------

    def test_it_recognises_its_own(self) -> None:
        """A dialect recognises its own messages, unless it is the one for messages that no other
        dialect claims."""
        assert self.written
        for body, sent in self._own():
            assert self.dialect.recognises(_opened(body, sent)) is not self.dialect.has_the_rest

    def test_its_workers_can_read_what_they_have_written(self) -> None:
        for body, sent in self.written:
            task = codec.decode(body, sent, self.dialect)
            assert (task.problem, task.unreadable) == (None, None)
            assert self._is_read(task)

    def test_it_claims_nothing_of_others(self) -> None:
        for other, body, sent in self._of_others():
            assert not self.dialect.recognises(_opened(body, sent))
            task = codec.decode(body, sent, self.dialect)
            assert other.reads(registry.named(task.dialect or ""))
            assert (task.unreadable is None) is self.dialect.reads(other)

    def test_whatever_others_write_is_read_without_an_error(self) -> None:
        for body, sent in self._hostile():
            message = _opened(body, sent)
            assert isinstance(self.dialect.recognises(message), bool)
            task = self.dialect.decode(message)
            assert task.dialect is None or self._is_read(task)
            assert isinstance(self.dialect.unreadable(message, task), str | None)
            assert isinstance(self.dialect.places(message), Mapping | None)
            assert isinstance(self.dialect.resets(message, _TOPIC), Mapping)

    def test_whatever_others_write_is_sent_or_refused_in_words(self) -> None:
        for body, sent in self._hostile():
            for path, value in _EDITS.values():
                assert self._refusal(self._amended, (body, sent), {path: value}) != ""

    # --- writing -------------------------------------------------------------------------

    def test_what_is_composed_is_decoded_as_it_was(self) -> None:
        for args, kwargs in self.arguments:
            message = self._composed(args, kwargs, headers=_HEADERS)
            task = codec.decode(message.body, message.properties, self.dialect)
            assert (task.problem, task.unreadable, task.error) == (None, None, None)
            assert self._is_read(task)
            assert (task.args or [], task.kwargs or {}) == (args, kwargs)
            assert (task.task_id, task.task_name) == (message.task_id, message.task_name)
            assert task.task_id
            assert _HEADERS.items() <= task.headers.items()
            assert task.attempts in (0, None)
            assert task.published_at in (moment(ManualClock().time()), None)

    def test_tasks_have_ids_of_their_own(self) -> None:
        assert self._composed([], {}).task_id != self._composed([], {}).task_id

    def test_it_goes_into_its_queue_by_name_unless_tasktools_has_made_that(self) -> None:
        message = self._composed([], {})
        assert message.topic == _TOPIC
        assert (message.queue is None) is self.dialect.creates_topics

    def test_a_ttl_is_said_or_left_to_rabbitmq_and_a_delay_may_be_refused(self) -> None:
        now = moment(ManualClock().time())
        message = self._composed([], {}, ttl=60.0)
        task = codec.decode(message.body, message.properties, self.dialect)
        assert (task.expires_at, message.properties.expiration) in (
            (now + timedelta(minutes=1), None),
            (None, "60000"),
        )
        refusal = self._refusal(self._composed, [], {}, delay=60.0)
        assert refusal is None or "nothing was published" in refusal

    @pytest.mark.parametrize("arguments", [([{1, 2}], {}), ([], {"x": float("nan")}), ({}, {})])
    def test_what_it_cannot_say_is_refused(self, arguments: tuple[Any, Any]) -> None:
        with pytest.raises(InvalidTask, match="nothing was published"):
            self._composed(*arguments)

    # --- replays ---------------------------------------------------------------------------

    def test_what_is_reset_is_the_same_task_and_is_reset_once(self) -> None:
        is_changed = []
        for message in self._own():
            fresh = self._amended(message, {})
            assert self._amended(fresh, {}) == fresh
            before, after = self._decoded(message), self._decoded(fresh)
            assert _identity(after) == _identity(before)
            assert (after.args, after.kwargs) == (before.args, before.kwargs)
            is_changed.append(fresh != message)
        assert any(is_changed) is (self.dialect.resetting is not None)

    @pytest.mark.parametrize("field", _EDITS)
    def test_an_edit_is_decoded_as_the_new_value_and_nothing_else_changes(self, field: str) -> None:
        path, value = _EDITS[field]
        for message in self._own():
            fresh = self._decoded(self._amended(message, {}))
            if field not in (self.dialect.places(_opened(*message)) or {}):
                with pytest.raises(ValueError, match=r"."):
                    self._amended(message, {path: value})
                continue
            edited = self._decoded(self._amended(message, {path: value}))
            assert _at(edited, path) == value
            for name in ("task_id", "task_name", "args", "kwargs"):
                assert name == field or getattr(edited, name) == getattr(fresh, name)

    def test_the_fields_that_can_be_edited_are_those_that_edits_name(self) -> None:
        for message in self._own():
            assert {*(self.dialect.places(_opened(*message)) or {})} <= {*_EDITS, "func_name"}

    # --- what they are made of ---------------------------------------------------------------

    def _own(self) -> Iterator[Written]:
        yield from self.written
        for args, kwargs in self.arguments:
            message = self._composed(args, kwargs)
            yield message.body, message.properties

    def _composed(self, args: Any, kwargs: Any, **options: Any) -> Outgoing:
        return _composed(self.dialect, {"args": args, "kwargs": kwargs}, **options)

    def _amended(self, message: Written, edits: Mapping[str, Any]) -> Written:
        body, sent = message
        raw = amqp_properties.encode(sent)
        new, raw = amended(body, raw, edits, self.dialect, queue=_TOPIC)
        return new, amqp_properties.decode(raw)

    @staticmethod
    def _refusal(call: Callable[..., object], *args: Any, **options: Any) -> str | None:
        """Return the words of a refusal, or `None`; any other error is raised."""
        try:
            call(*args, **options)
        except ValueError as error:
            return str(error)
        return None

    def _decoded(self, message: Written) -> TaskMessage:
        return self.dialect.decode(_opened(*message))

    def _is_read(self, task: TaskMessage) -> bool:
        own = registry.find(task.dialect or "")
        return task.dialect == self.dialect.name or (own is not None and self.dialect.reads(own))

    def _of_others(self) -> Iterator[tuple[Dialect, bytes, Properties]]:
        """Yield messages that are certainly of other dialects that come with tasktools."""
        for other in registry.BUILT_IN:
            if not (other.has_the_rest or self.dialect.reads(other) or other.reads(self.dialect)):
                message = _composed(other, {"args": [1], "kwargs": {"to": "a@b"}})
                yield other, message.body, message.properties

    def _hostile(self) -> Iterator[Written]:
        """Yield malformed messages, and the dialect's own ones with a strange part."""
        body, sent = next(self._own())
        for strange in _NO_BODIES:
            yield strange, sent
            yield strange, Properties()
        for value in _STRANGE:
            if not _is_beyond_amqp(value):
                for name in sent.headers:
                    yield body, _with_headers(sent, {**sent.headers, name: value})
            for changed in _with_a_strange_part(_json(body), value):
                yield json.dumps(changed).encode(), sent


def _composed(dialect: Dialect, payload: Mapping[str, Any], **options: Any) -> Outgoing:
    composer = Composer(lambda _topic: dialect, ManualClock(), FunctionNames())
    return composer.compose(_TOPIC, {"task_name": _NAME, **payload}, **options)


def _opened(body: bytes, sent: Properties) -> MessageBody:
    return codec.opened(body, sent)


def _identity(task: TaskMessage) -> tuple[str | None, ...]:
    return task.dialect, task.message_id, task.task_id, task.task_name


def _at(task: TaskMessage, path: str) -> Any:
    field, _, inner = path.partition(".")
    value = getattr(task, field)
    if isinstance(value, datetime):
        return value.isoformat()
    return value[int(inner) if isinstance(value, list) else inner] if inner else value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _with_a_strange_part(data: Any, value: Any) -> Iterator[Any]:
    """Yield *data* with each of its parts in turn replaced by *value*, two levels deep."""
    parts = list(data.items() if isinstance(data, dict) else enumerate(data or ()))
    for key, part in parts:
        yield _replaced(data, key, value)
        for inner in part if isinstance(part, dict) else ():
            yield _replaced(data, key, _replaced(part, inner, value))


def _replaced(data: Any, key: Any, value: Any) -> Any:
    copy = data.copy()
    copy[key] = value
    return copy


def _is_beyond_amqp(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def _with_headers(sent: Properties, headers: Mapping[str, Any]) -> Properties:
    names = (name for name in sent.__struct_fields__ if name != "headers")
    return Properties(headers=headers, **{name: getattr(sent, name) for name in names})
