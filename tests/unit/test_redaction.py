"""What is shown can be shared."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.redaction import MASKED, Masked, mask, mask_text


@pytest.mark.parametrize(
    "key",
    ["password", "PASSWD", "db_pwd", "client_secret", "access_token", "apiKey", "api-key",
     "Authorization", "aws_access_key", "private_key", "cookie", "session_id", "BROKER_DSN"],
)  # fmt: skip
def test_a_value_under_a_key_that_names_a_secret_is_masked(key: str) -> None:
    shown = mask({"deep": [{key: "hunter2", "to": "a@b"}]})
    assert shown == {"deep": [{key: MASKED, "to": "a@b"}]}
    assert "hunter2" not in repr(shown)


@pytest.mark.parametrize("key", ["author", "author_id", "monkey", "to", "keyboard"])
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
