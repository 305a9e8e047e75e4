"""Editing properties as bytes, checked against pika's own encoder and decoder."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktools.brokers.rabbitmq.rawprops import edited

SHORT = st.text(max_size=40).filter(lambda text: len(text.encode("utf-8", "replace")) < 200)
WORD = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = (
    WORD
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.none()
    | st.binary(max_size=20)
    | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(  # noqa: DTZ001
        lambda time: time.replace(microsecond=0, tzinfo=UTC)
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3)
)
HEADERS = st.dictionaries(WORD, VALUES, max_size=6)
TEXTS = ("content_type", "correlation_id", "reply_to", "message_id", "type", "app_id", "user_id")


@st.composite
def properties(draw: st.DrawFn) -> pika.BasicProperties:
    fields: dict[str, Any] = {name: draw(st.none() | WORD) for name in TEXTS}
    return pika.BasicProperties(
        headers=draw(st.none() | HEADERS),
        priority=draw(st.none() | st.integers(0, 255)),
        delivery_mode=draw(st.none() | st.integers(1, 2)),
        expiration=draw(st.none() | st.integers(0, 10**6).map(str)),
        timestamp=draw(st.none() | st.integers(0, 2**40)),
        **fields,
    )


def encoded(properties: pika.BasicProperties) -> bytes:
    return b"".join(properties.encode())


def decoded(raw: bytes) -> pika.BasicProperties:
    properties = pika.BasicProperties()
    properties.decode(raw)
    return properties


def text(value: Any) -> Any:
    """pika reads some texts as bytes."""
    return value.decode() if isinstance(value, bytes) else value


@given(properties())
def test_what_is_not_edited_stays_as_it_is_byte_for_byte(told: pika.BasicProperties) -> None:
    raw = encoded(told)
    again = encoded(edited(raw, expiration=told.expiration))
    assert again == raw


@given(properties(), st.sets(WORD, max_size=3), st.dictionaries(WORD, WORD, max_size=3))
def test_headers_are_taken_out_and_put_in_as_pika_would(
    told: pika.BasicProperties, names: set[str], added: dict[str, str]
) -> None:
    raw = encoded(told)
    before = dict(decoded(raw).headers or {})
    names |= set(list(before)[:2])
    after = decoded(encoded(edited(raw, without=names.__contains__, added=added, expiration="77")))
    kept = {name: value for name, value in before.items() if name not in names | added.keys()}
    headers = dict(after.headers or {})
    assert {name: headers[name] for name in kept} == kept
    assert {n: text(v) for n, v in headers.items() if n not in kept} == added
    assert after.expiration == "77"
    assert (after.priority, after.timestamp) == (told.priority, told.timestamp)


@pytest.mark.parametrize(
    "value",
    [
        b"d" + struct.pack(">d", 1.5),
        b"f" + struct.pack(">f", 1.5),
        b"b\xff",
        b"B\xff",
        b"s\xff\xfe",
        b"u\xff\xfe",
        b"S\0\0\0\2\xff\xfe",
        b"x\0\0\0\1\0",
        b"D\x02\0\0\0\x07",
        b"V",
        b"A\0\0\0\x09d" + struct.pack(">d", 2.5),
    ],
)
def test_values_that_pika_would_alter_are_passed_on(value: bytes) -> None:
    entry = b"\x03odd" + value
    raw = struct.pack(">HI", 1 << 13, len(entry)) + entry
    assert encoded(edited(raw, expiration=None)) == raw
    assert entry in encoded(edited(raw, added={"new": "x"}, expiration=None))


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0\3", b"\0\0more", b"\x20\0\0\0\0\x05\x01aZ\0\0"])
def test_bytes_that_are_no_properties_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"no message properties|unknown type"):
        edited(raw, expiration=None)
