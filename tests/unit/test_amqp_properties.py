"""Properties as bytes, checked against pika's own encoder and decoder."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.models import Properties

WORD = st.text(st.characters(codec="utf-8"), max_size=20)
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=0, tzinfo=UTC)
)
BOTH_KNOW = (
    WORD
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.none()
    | st.decimals(-(10**6), 10**6, places=3)
    | st.binary(max_size=20)
    | TIMES
)
WE_KNOW = BOTH_KNOW | st.floats(allow_nan=False)


def tables(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    )
    return st.dictionaries(WORD, values, max_size=6)


TEXTS = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "message_id",
    "type",
    "app_id",
    "user_id",
)


def fields(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: st.none() | WORD for name in TEXTS}
        | {
            "headers": tables(scalars),
            "priority": st.none() | st.integers(0, 255),
            "delivery_mode": st.none() | st.integers(1, 2),
            "expiration": st.none() | st.integers(0, 10**6).map(str),
            "timestamp": st.none() | TIMES,
        }
    )


def by_pika(written: dict[str, Any], **more: Any) -> bytes:
    stamp = written["timestamp"]
    seconds = None if stamp is None else int(stamp.timestamp())
    properties = pika.BasicProperties(**written | {"timestamp": seconds} | more)
    return b"".join(properties.encode())


def read_by_pika(raw: bytes) -> pika.BasicProperties:
    properties = pika.BasicProperties()
    properties.decode(raw)
    return properties


def header(value: bytes) -> bytes:
    """Return properties with one header named `odd`, whose type and value are these bytes."""
    entry = b"\x03odd" + value
    return struct.pack(">HI", 1 << 13, len(entry)) + entry


@given(fields(BOTH_KNOW))
def test_what_pika_wrote_is_read_as_it_was_meant(written: dict[str, Any]) -> None:
    assert amqp_properties.decode(by_pika(written)) == Properties(**written)


@given(fields(BOTH_KNOW))
def test_pika_reads_what_is_written(written: dict[str, Any]) -> None:
    read = read_by_pika(amqp_properties.encode(Properties(**written)))
    assert amqp_properties.decode(
        by_pika(vars(read) | {"timestamp": written["timestamp"]})
    ) == Properties(**written)


@given(fields(WE_KNOW))
def test_what_is_written_is_read_as_it_was(written: dict[str, Any]) -> None:
    properties = Properties(**written)
    assert amqp_properties.decode(amqp_properties.encode(properties)) == properties


@given(fields(BOTH_KNOW), WORD)
def test_what_is_not_edited_stays_as_it_is_byte_for_byte(
    written: dict[str, Any], name: str
) -> None:
    written["headers"].pop(name, None)
    written["headers"]["kept" + name] = 1
    raw = by_pika(written, cluster_id="c")
    assert amqp_properties.edited(raw) == raw
    assert (
        amqp_properties.edited(
            amqp_properties.edited(raw, added={name: "x"}), without={name}.__contains__
        )
        == raw
    )


@given(fields(BOTH_KNOW), st.sets(WORD, max_size=3), st.dictionaries(WORD, WORD, max_size=3))
def test_headers_are_taken_out_and_put_in(
    written: dict[str, Any], names: set[str], added: dict[str, str]
) -> None:
    names |= set(list(written["headers"])[:2])
    raw = amqp_properties.edited(
        by_pika(written),
        without=names.__contains__,
        added=added,
        drop=("user_id", "app_id"),
        expiration="77",
    )
    left = {name: value for name, value in written["headers"].items() if name not in names}
    changes = {"headers": left | added, "user_id": None, "app_id": None, "expiration": "77"}
    assert amqp_properties.decode(raw) == Properties(**written | changes)
    assert read_by_pika(raw).expiration == "77"


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (b"d" + struct.pack(">d", 1.5), 1.5),
        (b"f" + struct.pack(">f", 1.5), 1.5),
        (b"t\x01", True),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xfe", -2),
        (b"U\xff\xfe", -2),
        (b"u\xff\xfe", 65_534),
        (b"I\xff\xff\xff\xfe", -2),
        (b"i\xff\xff\xff\xfe", 2**32 - 2),
        (b"L" + b"\xff" * 8, -1),
        (b"l" + b"\xff" * 8, -1),
        (b"S\0\0\0\2\xff\xfe", b"\xff\xfe"),
        (b"x\0\0\0\1\0", b"\0"),
        (b"D\x02\xff\xff\xff\xf9", Decimal("-0.07")),
        (b"T" + (2**62).to_bytes(8, "big"), 2**62),
        (b"V", None),
        (b"A\0\0\0\x09d" + struct.pack(">d", 2.5), [2.5]),
    ],
)
def test_every_type_is_read_exactly_and_passed_on(value: bytes, meaning: Any) -> None:
    read = amqp_properties.decode(header(value)).headers["odd"]
    assert (read, type(read)) == (meaning, type(meaning))
    assert amqp_properties.edited(header(value)) == header(value)
    assert value in amqp_properties.edited(header(value), added={"new": "x"})


@pytest.mark.parametrize(
    "value",
    [
        b"Z",
        b"",
        b"S\0\0\0\x09short",
        b"l\0",
        b"F\0\0\0\2\x09a",
        b"A\0\0\0\1Z",
        b"A\0\0\0\3D\0\0",
    ],
)
def test_headers_that_cannot_be_read_are_left_out(value: bytes) -> None:
    entry = b"\x03odd" + value
    raw = struct.pack(">H2sI", 0b101 << 13, b"\x01c", len(entry)) + entry
    assert amqp_properties.decode(raw) == Properties(content_type="c")


def test_tables_nested_too_deeply_are_left_out() -> None:
    value = b""
    for _ in range(20_000):
        value = b"A" + struct.pack(">I", len(value)) + value
    assert amqp_properties.decode(header(value)).headers == {}


def test_texts_that_are_no_utf8_are_shown_escaped_and_a_time_beyond_all_times_is_none() -> None:
    raw = struct.pack(">H", 1 << 7 | 1 << 6) + b"\x02\xff\xfe" + (2**62).to_bytes(8, "big")
    assert amqp_properties.decode(raw) == Properties(message_id="\\xff\\xfe")


BROKEN = [b"", b"\0", b"\0\3", b"\0\0more", b"\x20\0\0\0\0\x09\x01a", b"\x80\0", b"\x00\x40\0"]


@pytest.mark.parametrize("raw", BROKEN)
def test_bytes_that_are_no_properties_are_read_as_none(raw: bytes) -> None:
    assert amqp_properties.decode(raw) == Properties()


@pytest.mark.parametrize("raw", [*BROKEN, b"\x20\0\0\0\0\x05\x01aZ\0\0", header(b"S\0\0\0\x09s")])
def test_bytes_that_are_no_properties_are_not_edited(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"no message properties|unknown type|longer than"):
        amqp_properties.edited(raw, added={"new": "x"})


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        (Properties(headers={"n": 2**63}), "64 bits"),
        (Properties(headers={"n": Decimal("1e10")}), "32 bits"),
        (Properties(headers={"n": Decimal("1e-300")}), "32 bits"),
        (Properties(headers={"n": Decimal("NaN")}), "32 bits"),
        (Properties(headers={"n": {1, 2}}), "a set"),
        (Properties(headers={"x" * 256: 1}), "255 bytes"),
        (Properties(message_id="x" * 256), "255 bytes"),
        (Properties(timestamp=datetime(1969, 1, 1, tzinfo=UTC)), "before 1970"),
        (Properties(timestamp=datetime(2020, 1, 1)), "time zone"),  # noqa: DTZ001
        (Properties(priority=256), "256"),
    ],
)
def test_what_cannot_be_said_is_refused(properties: Properties, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        amqp_properties.encode(properties)


def test_what_many_messages_say_of_their_deaths_is_decoded_once() -> None:
    written = [{"x-death": [{"queue": "q"}], "mine": [n]} for n in range(2)]
    first, second = (
        amqp_properties.decode(amqp_properties.encode(Properties(headers=headers))).headers
        for headers in written
    )
    assert first["x-death"] is second["x-death"]
    assert [first["mine"], second["mine"]] == [[0], [1]]


def test_headers_of_two_messages_are_two_objects() -> None:
    raw = amqp_properties.encode(Properties(headers={"n": 1}))
    first, second = (amqp_properties.decode(raw).headers for _ in range(2))
    assert first == second
    assert first is not second
