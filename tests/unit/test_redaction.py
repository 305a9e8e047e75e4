"""Redaction: what is shown can be shared."""

from __future__ import annotations

import time
import uuid
from random import Random
from typing import Any

import pytest

from tasktools.core.redaction import MASKED, Masked, mask, mask_text


@pytest.mark.parametrize(
    "key",
    ["password", "PASSWD", "db_pwd", "client_secret", "access_token", "apiKey", "api-key",
     "Authorization", "aws_access_key", "private_key", "cookie", "session_id", "BROKER_DSN",
     "db_pass", "user_jwt", "dbPass", "userJwt", "db-pass", "REDISCLI_AUTH", "pass2", "card.cvv",
     "mysql_pwd", "private-key", "signingKey", "login_otp"],
)  # fmt: skip
def test_a_value_under_a_key_that_names_a_secret_is_masked(key: str) -> None:
    shown = mask({"deep": [{key: "hunter2", "to": "a@b"}]})
    assert shown == {"deep": [{key: MASKED, "to": "a@b"}]}
    assert "hunter2" not in repr(shown)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "author",
            "author_id",
            "monkey",
            "to",
            "keyboard",
            "auth_method",
            "pass_rate",
            "secretary",
        ),
        *("tokenizer", "compass", "passenger", "task_id", "spinner", "max_pages"),
    ],
)
def test_an_innocent_key_is_left_alone(key: str) -> None:
    assert mask({key: "x"}) == {key: "x"}


def test_the_password_of_a_url_is_masked_wherever_it_stands() -> None:
    text = "could not reach amqp://ops:hunter2@rabbit:5672/prod and http://a:b@c"
    assert mask_text(text) == "could not reach amqp://ops:•••@rabbit:5672/prod and http://a:•••@c"
    assert mask(["amqp://ops:hunter2@rabbit/"]) == ["amqp://ops:•••@rabbit/"]


@pytest.mark.parametrize("value", [None, 7, 1.5, True, "plain", b"bytes"])
def test_what_holds_no_secret_comes_back_as_it_is(value: Any) -> None:
    assert mask(value) == value


def test_a_flag_or_nothing_under_a_secret_key_is_no_secret() -> None:
    assert mask({"password": None, "token": True}) == {"password": None, "token": True}


def test_something_nested_without_end_is_masked_not_followed() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "•••" in repr(mask(endless))


def test_masks_are_equal_and_say_nothing() -> None:
    assert Masked() == MASKED
    assert repr(MASKED) == "•••"


SECRET = "hunter2-0f8Q"


@pytest.mark.parametrize(
    "text",
    [
        f"amqp://u:p@{SECRET}@h",
        f"postgres://app:p@{SECRET}@db/shop",
        f"redis://:{SECRET}@h:6379/0",
        f"amqp://u:a/{SECRET}@h/vhost",
        f"https://{SECRET}@h/repo.git",
        f"cut off in amqp://user:{SECRET}",
        f"https://x/?password={SECRET}",
        f"https://x/?a=1&X-Amz-Signature={SECRET}&b=2",
        f"https://x/?page=2&key={SECRET}",
        f"https://x/callback?code={SECRET}#top",
        f"https://x/callback#access_token={SECRET}&state=1",
        f"password={SECRET}",
        f"db_pass = {SECRET}",
        f"user-jwt: {SECRET}",
        f"connect(user='ann', password='{SECRET}')",
        f"password: str = '{SECRET}'",
        f"os.environ['DB_PASSWORD'] = '{SECRET}'",
        f"--password {SECRET} --host db",
        f"<soap:password>{SECRET}</soap:password>",
        f"Server=db;Password={SECRET};Database=shop",
        f"Key (token)=({SECRET}) already exists.",
        f"Authorization: Bearer {SECRET}",
        f"curl -H 'Authorization: Basic {SECRET}' https://shop.example",
        f"{{'Authorization': 'Token {SECRET}', 'Accept': '*/*'}}",
        f"GET / HTTP/1.1\r\nCookie: a=1; session={SECRET}\r\nHost: x",
        f"sent with Bearer {SECRET}",
        f'{{"password": "{SECRET}"}}',
        f'{{"name": "PASSWORD", "value": "{SECRET}"}}',
        f'say \\"password\\": \\"a\\\\\\"{SECRET}\\" and more',
        f'{{"password": "{SECRET}", "password": null}}',
        f"-----BEGIN RSA PRIVATE KEY-----\nMII{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\\nb3Bl{SECRET}",
        f"b'token={SECRET}'",
        f"credentials: {{'a': {{'b': 1}}, 'c': '{SECRET}'}}",
        f"[('user', 'ann'), ('password', '{SECRET}')]",
        f"{{'headers': '[(b\\'x-api-key\\', b\\'{SECRET}\\')]'}}",
        f"OrderedDict([['Cookie', 'sid={SECRET}']])",
        f"cut off in [('password', '{SECRET}",
        f"{{'env': [{{'name': 'DB_PASSWORD', 'value': '{SECRET}'}}]}}",
        f'<user name="ann" password="{SECRET}">Ann</user>',
        f"{{'text': '<Config password: \\'{SECRET}\\'>'}}",
        f'password = """{SECRET}"""',
    ],
)
def test_a_secret_in_a_text_is_masked(text: str) -> None:
    """Issue 11, secrets: in errors, tracebacks and arguments alike."""
    for shown in (mask_text(text), mask(text), mask({"error": [text]}), mask({text: 1})):
        assert SECRET not in repr(shown)
        assert "•••" in repr(shown)
    assert mask_text(mask_text(text)) == mask_text(text)
    assert SECRET.encode() not in mask({"header": {"nested": text.encode()}})["header"]["nested"]


@pytest.mark.parametrize(
    "token",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        *("AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "glpat-9aKx7sPq2L"),
        *("xoxb-123456789012-abcdefABCDEF", "sk-proj-4f9Aq1Zx8Wv7Ut6Sr5", "sk_live_4eC39HqLyjWD"),
        *("AIzaSyA-1234567890abcdefghijklmnopqrstuv", "hf_AbCdEfGhIjKlMnOpQrStUvWx"),
        *("4111 1111 1111 1111", "4111111111111111", "5500-0000-0000-0004", "378282246310005"),
    ],
)  # fmt: skip
def test_what_is_a_secret_by_its_own_look_is_masked(token: str) -> None:
    """Issue 11, secrets: JWTs, keys of clouds, and cards by their check digit."""
    for text in (token, f"refused: {token}.", f"('{token}',)", f"https://x/?q={token}&b=1"):
        assert token not in mask_text(text)
        assert token not in repr(mask({"note": (text, {text})}))


def test_a_card_number_that_is_a_number_is_masked() -> None:
    """Issue 11, secrets: in JSON a card may be a number."""
    assert mask([4111111111111111, 4111111111111112]) == [MASKED, 4111111111111112]


_TIMES = [1_732_752_000_000 + 997 * n for n in range(20_000)]


def test_ids_and_times_stay_readable() -> None:
    """Issue 11, secrets: what operators look for is never taken for a secret."""
    random = Random(11)
    texts = [str(uuid.UUID(int=random.getrandbits(128))) for _ in range(20_000)]
    texts += [f"{random.getrandbits(64):016x}" for _ in range(5_000)]
    texts += [f"{random.getrandbits(128):032x}" for _ in range(5_000)]
    texts += [f"tt:{random.getrandbits(48):x}:{n}" for n in range(5_000)]
    texts += [f"order {random.randrange(10**7)} of customer C-{n:06}" for n in range(5_000)]
    texts += [*map(str, _TIMES), *(f"{at}.{at % 997}" for at in _TIMES[:5_000])]
    texts += [f"{at}000" for at in _TIMES] + [f"{at}000000" for at in _TIMES]
    texts += [f"worker-{n}@host-{n % 7}.shop.example" for n in range(2_000)]
    texts += [f"2026-11-24T{n % 24:02}:{n % 60:02}:07.{n:06}Z" for n in range(2_000)]
    texts += [f"http://shop.example:8080/orders/{n}?page=2&size=xl" for n in range(2_000)]
    texts += [f"{random.randrange(2**62, 2**63)}" for _ in range(5_000)]  # snowflakes
    assert [text for text in texts if mask_text(text) != text] == []
    assert mask(_TIMES) == _TIMES


@pytest.mark.parametrize(
    "text",
    [
        "missing: ['password', 'email', 'x']", "('token', None)", "{'name': 'a', 'value': 'b'}",
        "KeyError: 'password'", "bearer of bad news", "basic understanding", "max_tokens=512",
        "amqp://ops@rabbit:5672/prod", "http://[::1]:8080/x", "https://shop.example/a@b",
        "http://shop.example:8080/users/ann@shop.example", "token=None", "a=1, b=2", "x: y",
        "POST https://pay.example/v1/charge: 5.02 s, try 2", "sk-learn-pipeline", "SG.1", "--help",
        "GET http://rabbit:27402: HTTP 401", "(http://rabbit:15672), then amqp://rabbit:5672.",
    ],
)  # fmt: skip
def test_a_text_without_a_secret_comes_back_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("amqp://ops:8080:geheim", "amqp://ops:•••"),
        ("amqp://ops:123456: refused", "amqp://ops:••• refused"),
        ("amqp://ops:8080:/x@rabbit", "amqp://ops:•••@rabbit"),
        ("amqp://ops:8080:@rabbit", "amqp://ops:•••@rabbit"),
    ],
)
def test_a_password_that_begins_as_a_port_is_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_what_holds_secrets_in_any_shape_is_masked() -> None:
    """Issue 11, secrets: bytes, sets, keys, settings, command lines and pairs."""
    dsn = "amqp://u:hunter2@h"
    shown = mask(
        {
            "bytes": [dsn.encode(), bytearray(dsn, "utf-8"), memoryview(dsn.encode())],
            "set": {dsn}, "frozen": frozenset([dsn.encode()]), "tuple": (dsn, (dsn,)),
            "in keys": {dsn: 1, dsn.encode(): 2, (dsn, 1): 3, "amqp://u:hunter2b@h": 4},
            b"password": b"hunter2",
            "env": [{"name": "DB_PASS", "value": "hunter2"}, {"Key": "TOKEN", "Value": "hunter2"}],
            "command": ["login", "--password", "hunter2", "-v"],
            "headers": [["Authorization", "hunter2"], ("Accept", "*/*")],
        }
    )  # fmt: skip
    assert "hunter2" not in repr(shown)
    assert len(shown["in keys"]) == 4
    assert isinstance(shown["set"], set)
    assert shown["headers"][1] == ["Accept", "*/*"]
    assert mask({"env": [{"name": "PAGES", "value": "7"}]}) == {
        "env": [{"name": "PAGES", "value": "7"}]
    }


def test_many_keys_that_differ_only_in_their_secrets_are_all_shown_quickly() -> None:
    """Issue 11, row 18: keys as well."""
    begin = time.thread_time()
    assert len(mask({f"https://u:{n}p@h": n for n in range(20_000)})) == 20_000
    assert time.thread_time() - begin < 2
