"""The fingerprint of an error: its text without what varies from message to message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.fingerprints import fingerprint, fingerprints
from tests.timing import spending

MANY = settings(max_examples=300, deadline=None, derandomize=True)
PIECES = st.sampled_from(
    ["/", "//", "://", ":", ".", "..", "-", "_", "@", "?", "=", "'", "(", "]", "<", ">", "+", "~",
     "\\", " ", "\n", "…", "•••", "a", "b1", "f0", "0x1", "http", "code", "status=404", "1", "2.5",
     "12:30", "10.0.0.1", "2026-11-24", "deadbeef1", "rmq:0d13e67f:1", "ann@shop", "K\u0661", "::1",
     "amqp://ops:hunter2@rabbit/", "C:\\x", "1e5", "<n>", "b42a0d7e-7509-48f3-ac8b-d5af1248bbee"]
)  # fmt: skip
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=40).map("".join)
LONG_TEXTS = st.lists(PIECES, min_size=60, max_size=300).map("".join)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("no card ending 4242", "no card ending <n>"),
        ("3 of 1,024 rows, -7.5e-05 off, +1 more", "<n> of <n> rows, <n> off, <n> more"),
        ("task b42a0d7e-7509-48f3-ac8b-d5af1248bbee", "task <id>"),
        ("message rmq:0d13e67f:17 or tt:9f86d081:2", "message <id> or <id>"),
        ("commit 9f86d081884c of cus_N8xKq2Lm", "commit <id> of cus_<id>"),
        ("ulid 01ARZ3NDEKTSV4RRFFQ69G5FAV", "ulid <id>"),
        ("<Session object at 0x7f8a1c2b3d40>", "<Session object at <hex>>"),
        ("10.0.0.12:5432 and 10.0.0.13", "<address> and <address>"),
        ("[fe80::1]:80 from ::1", "[<address>]:<n> from <address>"),
        ("rabbit-1.prod:5672 refused", "rabbit-<n>.prod:<n> refused"),
        ("no such user ann@shop.example", "no such user <email>"),
        ("since 2026-11-24T02:49:03.4+00:00", "since <time>"),
        ("2026-11-24 02:49:03,408 ERROR", "<time> ERROR"),
        ("closed on 2026-11-24 at 12:30", "closed on <time> at <time>"),
        ("No such file: '/srv/data/2026/report.csv'", "No such file: '…/report.csv'"),
        (r"No such file: C:\Users\ann\report.csv", "No such file: …/report.csv"),
        ("GET https://pay.example/v1/users/ann/charge", "GET https://pay.example/…/charge"),
        ("GET https://x.example/charge?id=ann&key=x: no", "GET https://x.example/charge?… no"),
        ("with url: /v1/charge?id=4 (Caused by)", "with url: …/charge?… (Caused by)"),
        ("read/write of application/json", "read/write of application/json"),
        ("HTTP 503, exit code 137, status=404", "HTTP 503, exit code 137, status=404"),
        ("[Errno 111] Connection refused", "[Errno 111] Connection refused"),
        ("code 4045 of 17", "code <n> of <n>"),
        ("two  words\tand\n  a second line", "two words and"),
        ("\n\n  late", "late"),
    ],
)  # fmt: skip
def test_what_varies_becomes_a_placeholder(error: str, expected: str) -> None:
    assert fingerprint(None, error) == expected


def test_a_quoted_value_loses_only_its_numbers() -> None:
    assert fingerprint("KeyError", "'user_123'") == fingerprint("KeyError", "'user_456'")
    assert fingerprint("KeyError", "'name'") != fingerprint("KeyError", "'email'")


def test_the_type_is_named_without_its_module() -> None:
    assert fingerprint("requests.exceptions.S3Timeout", "try 2") == "S3Timeout: try <n>"
    assert fingerprint("requests.exceptions.S3Timeout", "") == "S3Timeout"
    assert fingerprint(None, "try 2") == "try <n>"


@pytest.mark.parametrize("nothing", [None, "", " \n "])
def test_without_type_and_text_there_is_no_fingerprint(nothing: str | None) -> None:
    assert fingerprint(nothing, nothing) is None


def test_a_long_text_is_cut() -> None:
    shown = fingerprint("ValueError", "word " * 1_000)
    assert shown is not None
    assert len(shown) == 200
    assert shown.endswith("…")


@given(st.integers(0, 600), st.sampled_from([" ", "x", "/"]))
@MANY
def test_no_part_of_a_password_is_shown_wherever_the_text_is_cut(length: int, filler: str) -> None:
    text = filler * length + "amqp://ops:hunter2hunter2@rabbit/prod" + filler * 500
    assert "hunter" not in (fingerprint(text, text) or "")


@given(TEXTS | LONG_TEXTS)
@MANY
def test_a_fingerprint_is_its_own_fingerprint(error: str) -> None:
    once = fingerprint(None, error)
    assert fingerprint(None, once) == once


@given(st.sampled_from(["KeyError", "shop.S3Error"]), TEXTS | LONG_TEXTS)
@MANY
def test_a_normalised_text_has_the_fingerprint_of_the_text(kind: str, error: str) -> None:
    assert fingerprint(kind, fingerprint(None, error)) == fingerprint(kind, error)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.uuids(), st.uuids())
@MANY
def test_other_values_do_not_make_another_fingerprint(n: int, m: int, a: object, b: object) -> None:
    text = "POST https://pay.example/v1/users/{0}/charge of user_{0} ({1}) took {0}.5 s"
    assert fingerprint("Timeout", text.format(n, a)) == fingerprint("Timeout", text.format(m, b))


@given(TEXTS | LONG_TEXTS)
@MANY
def test_a_fingerprint_is_one_short_line(error: str) -> None:
    shown = fingerprint("Error", error) or ""
    assert len(shown) <= 200
    assert shown.splitlines() == [shown]


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "a1", "/a", "://a:", "a@", " ", "1:", "f:", "1.", "C:\\", "\\a", "?a=", "-", "0a"],
)
def test_a_hostile_text_costs_no_more_than_others(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    with spending(0.1):
        fingerprint("Error", text)


# --- the coarse level ----------------------------------------------------------------------

HEAD = "Traceback (most recent call last):\n"
TASK = '  File "/srv/app-1.4.2/shop/mail.py", line 31, in send\n    post(to)\n'
OWN = '  File "/srv/app-1.4.2/shop/smtp.py", line 7, in post\n    smtp.connect()\n'
LIBRARY = '  File "/usr/lib/python3.11/smtplib.py", line 255, in connect\n    raise\n'
SITE = '  File "/venv/lib/python3.11/site-packages/{}/{}.py", line 3, in {}\n    x()\n'
TAIL = "TimeoutError: timed out\n"


@pytest.mark.parametrize(
    ("traceback", "place"),
    [
        (HEAD + TASK + OWN + LIBRARY + TAIL, " in smtp.py:post"),
        (HEAD + TASK + LIBRARY + TAIL, " in mail.py:send"),
        (HEAD + TASK + TAIL + "\nDuring handling…\n\n" + HEAD + OWN + TAIL, " in smtp.py:post"),
        (HEAD + '  File "C:\\app\\mail.py", line 4, in send\n' + TAIL, " in mail.py:send"),
        (HEAD + '  File "<frozen importlib>", line 4, in _find\n' + TAIL, ""),
        (HEAD + LIBRARY + TAIL, ""),
        (HEAD + SITE.format("shop", "mail", "send") + LIBRARY, " in mail.py:send"),
        (
            HEAD
            + SITE.format("shop", "mail", "send")
            + SITE.format("shop", "smtp", "post")
            + SITE.format("requests", "api", "get"),
            " in smtp.py:post",
        ),
        ("no traceback at all", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_coarse_level_is_type_and_innermost_own_frame(
    traceback: str | None, place: str
) -> None:
    levels = fingerprints("builtins.TimeoutError", "no answer in 5 s", traceback)
    assert levels.kind == f"TimeoutError{place}"
    assert levels.text == fingerprint("builtins.TimeoutError", "no answer in 5 s")
    assert levels.why is not None
    assert ("innermost frame" in levels.why) == bool(place)
    assert levels.why.endswith("fingerprint: type and message, with <n>")


def test_a_deploy_moves_lines_and_folders_and_changes_nothing() -> None:
    later = TASK.replace("1.4.2", "1.5.0").replace("line 31", "line 47")
    kinds = {fingerprints("E", "x", HEAD + frame).kind for frame in (TASK, later)}
    assert kinds == {"E in mail.py:send"}


def test_a_traceback_in_the_text_of_an_error_counts() -> None:
    assert fingerprints("Timeout", HEAD + TASK + TAIL).kind == "Timeout in mail.py:send"
    assert fingerprints(None, HEAD + TASK + TAIL).kind == "error in mail.py:send"


def test_of_nothing_there_are_no_levels() -> None:
    assert fingerprints(None, None, HEAD + TASK) == (None, None, None)
    assert fingerprints("Timeout", None) == (
        "Timeout",
        "Timeout",
        "kind: the type alone, as no traceback was reported; fingerprint: type",
    )
    assert fingerprints(None, "late")[:2] == ("error", "late")


def test_a_secret_in_a_frame_is_masked() -> None:
    frame = '  File "/srv/amqp://ops:hunter2@rabbit/x.py", line 1, in password=hunter2\n'
    assert "hunter2" not in str(fingerprints("E", "x", HEAD + frame))


@pytest.mark.parametrize("hostile", ['File "' * 50_000, 'File "/x", line 1, in f\n' * 50_000])
def test_a_hostile_traceback_costs_little(hostile: str) -> None:
    with spending(1):
        for _ in range(20):
            fingerprints("E", "x", HEAD + hostile)


@MANY
@given(TEXTS, TEXTS, TEXTS)
def test_whatever_strangers_write_has_levels(error_type: str, error: str, traceback: str) -> None:
    levels = fingerprints(error_type, error, traceback)
    assert levels.text == fingerprint(error_type, error)
    assert (levels.kind is None) == (levels.text is None)
