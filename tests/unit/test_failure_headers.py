"""Failures as headers of a dead letter, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tasktools.core.amqp import failure_headers
from tasktools.core.amqp.failure_headers import from_headers, to_headers
from tasktools.core.amqp.message_key import Keys
from tasktools.core.models import Failure, FailureReason, Properties
from tasktools.testing.factories import PUBLISHED, failure

BARE = failure(traceback=None, worker_id=None, attempts=None)


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_a_failure_is_read_as_it_was_written(reason: FailureReason) -> None:
    failure_read = failure(reason=reason)
    assert from_headers(to_headers(failure_read)) == failure_read


def test_all_headers_are_strings_with_names_of_ours() -> None:
    headers = to_headers(failure())
    assert tuple(headers) == failure_headers.HEADERS
    assert all(name.startswith("x-tasktools-") for name in headers)
    assert all(isinstance(value, str) for value in headers.values())


def test_what_is_not_known_has_no_header() -> None:
    headers = to_headers(BARE)
    assert headers.keys() == {
        failure_headers.REASON,
        failure_headers.ERROR_TYPE,
        failure_headers.ERROR,
        failure_headers.FAILED_AT,
    }
    assert from_headers(headers) == BARE


def test_the_time_is_kept_to_the_microsecond_with_its_zone() -> None:
    at = datetime(2026, 11, 24, 3, 49, 3, 123456, tzinfo=timezone(timedelta(hours=1)))
    failure_read = from_headers(to_headers(failure(failed_at=at)))
    assert failure_read is not None
    assert failure_read.failed_at == at
    assert failure_read.failed_at.tzinfo is not None


def test_of_a_long_traceback_the_end_is_kept_and_of_a_long_error_the_beginning() -> None:
    failure_read = from_headers(
        to_headers(
            failure(error="first" + "x" * 1_000_000, traceback="x" * 1_000_000 + "last line")
        )
    )
    assert failure_read is not None
    assert failure_read.error.startswith("firstx")
    assert failure_read.traceback is not None
    assert failure_read.traceback.endswith("xlast line")


def test_all_headers_together_fit_into_a_frame() -> None:
    worst = "😀" * 1_000_000
    headers = to_headers(failure(error_type=worst, error=worst, traceback=worst))
    size = sum(len(name) + len(value.encode()) for name, value in headers.items())
    assert size < 100_000  # of 128 KiB that RabbitMQ takes at most


def test_what_cannot_be_written_as_utf8_is_replaced() -> None:
    failure_read = from_headers(to_headers(failure(error="broken \ud800 text")))
    assert failure_read is not None
    assert failure_read.error == "broken ? text"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-death": [{"reason": "rejected"}]},
        {failure_headers.REASON: "failed"},
        {failure_headers.FAILED_AT: PUBLISHED.isoformat()},
        {failure_headers.REASON: "failed", failure_headers.FAILED_AT: "yesterday"},
        {failure_headers.REASON: "because", failure_headers.FAILED_AT: PUBLISHED.isoformat()},
        {failure_headers.REASON: ["failed"], failure_headers.FAILED_AT: PUBLISHED.isoformat()},
        {failure_headers.REASON: None, failure_headers.FAILED_AT: 5},
    ],
)
def test_headers_without_a_failure_of_ours_are_none(headers: dict[str, Any]) -> None:
    assert from_headers(headers) is None


@pytest.mark.parametrize("attempts", ["many", "-1", "1.5", "²", "", 5, None, [1]])
def test_attempts_that_are_no_number_are_missing(attempts: Any) -> None:
    failure_read = from_headers(to_headers(failure()) | {failure_headers.ATTEMPTS: attempts})
    assert failure_read == failure(attempts=None)


@pytest.mark.parametrize("lie", [5, None, ["text"], {"a": 1}, True, ""])
def test_a_header_of_another_type_is_missing(lie: Any) -> None:
    lies: dict[str, Any] = to_headers(failure())
    for name in (
        failure_headers.ERROR_TYPE,
        failure_headers.ERROR,
        failure_headers.TRACEBACK,
        failure_headers.WORKER,
    ):
        lies[name] = lie
    failure_read = from_headers(lies)
    assert failure_read == failure(error_type="", error="", traceback=None, worker_id=None)


@given(
    st.builds(
        Failure,
        reason=st.sampled_from(get_args(FailureReason)),
        error_type=st.text(max_size=50),
        error=st.text(max_size=200),
        failed_at=st.datetimes(timezones=st.just(UTC)),
        traceback=st.none() | st.text(min_size=1, max_size=200),
        worker_id=st.none() | st.text(min_size=1, max_size=50),
        attempts=st.none() | st.integers(0, 10_000),
    )
)
def test_any_failure_is_read_as_it_was_written(failure_read: Failure) -> None:
    assert from_headers(to_headers(failure_read)) == failure_read


@given(
    st.dictionaries(
        st.sampled_from(failure_headers.HEADERS),
        st.none() | st.text() | st.integers() | st.lists(st.text()) | st.datetimes(),
    )
)
def test_reading_never_raises(headers: dict[str, Any]) -> None:
    from_headers(headers)


def test_a_message_has_another_key_with_each_failure() -> None:
    def key(failure_read: Failure | None) -> str:
        headers = {} if failure_read is None else to_headers(failure_read)
        return Keys().next(Properties(headers=headers), b"body", ())

    later = replace(failure(), failed_at=PUBLISHED + timedelta(microseconds=1))
    assert len({key(None), key(failure()), key(later)}) == 3
    assert key(failure()) == key(failure(error="said otherwise"))
