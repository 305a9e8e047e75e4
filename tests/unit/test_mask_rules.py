"""A user's own rules of what is masked."""

from __future__ import annotations

import re
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.redaction import MASKED


@pytest.fixture
def cluster() -> Any:
    with tt.connect("memory://", mask=["iban", "customerName", re.compile(r"C-\d{6}")]) as cluster:
        yield cluster


def test_own_names_and_patterns_are_masked(cluster: tt.Cluster) -> None:
    """Issue 11, secrets: connect(mask=[…]); names are found in any style, and in texts."""
    kwargs = {
        "IBAN": "DE02", "sender_iban": "DE03", "customer-name": "Ann", "customer": "kept",
        "note": "of C-123456, iban=DE04", "number": [123456], "to": "ann@shop.example",
    }  # fmt: skip
    cluster.publish("emails", "send", args=["C-123456"], kwargs=kwargs, create=True)
    for frame in (cluster.active_tasks("emails"), cluster.peek("emails")):
        (row,) = frame.to_dict("records")
        assert row["args"] == ["•••"]
        assert row["kwargs"] == {
            "IBAN": MASKED, "sender_iban": MASKED, "customer-name": MASKED, "customer": "kept",
            "note": "of •••, iban=•••", "number": [123456], "to": "ann@shop.example",
        }  # fmt: skip


def test_a_plan_shows_new_values_by_the_same_rules(cluster: tt.Cluster) -> None:
    """Issue 11, secrets: a plan is shown and shared as well."""
    cluster.publish("emails", "send", kwargs={"iban": "DE02", "to": "a"}, create=True)
    cluster.create_topic("target")
    edits = {"kwargs.iban": "DE99", "kwargs.to": "C-123456"}
    plan = cluster.plan_replay(cluster.peek("emails"), "target", edits=edits)
    assert "DE99" not in f"{plan!r}{plan.frame().to_dict()}{plan._repr_html_()}"
    assert plan.frame()["after"].tolist() == ["•••", "'•••'"]
    with pytest.raises(tt.InvalidPlan, match="stands for a secret"):
        cluster.plan_replay(cluster.peek("emails"), "target", edits={"kwargs.to": MASKED})


def test_a_number_that_matches_a_pattern_is_masked() -> None:
    """Issue 11, secrets: a customer's number may be a number."""
    with tt.connect("memory://", mask=[re.compile(r"\b\d{9}\b")]) as cluster:
        cluster.publish("emails", "send", args=[123456789, 12345], create=True)
        assert cluster.active_tasks("emails")["args"][0] == [MASKED, 12345]


def test_names_in_the_environment_are_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKTOOLS_MASK", " iban, customer_name,,")
    with tt.connect("memory://", mask=["city"]) as cluster:
        kwargs = {"iban": "DE02", "customerName": "Ann", "city": "Ulm", "to": "a@b"}
        cluster.publish("emails", "send", kwargs=kwargs, create=True)
        shown = cluster.active_tasks("emails")["kwargs"][0]
    assert shown == {"iban": MASKED, "customerName": MASKED, "city": MASKED, "to": "a@b"}
    monkeypatch.setenv("TASKTOOLS_MASK", "iban,--")
    with pytest.raises(tt.InvalidMask, match=r"'--'.*nothing was contacted"):
        tt.connect("amqp://nobody:x@127.0.0.1:1/")


def test_reveal_shows_everything() -> None:
    with tt.connect("memory://", mask=["iban"], reveal=True) as cluster:
        cluster.publish("emails", "send", kwargs={"iban": "DE02", "password": "x"}, create=True)
        assert cluster.active_tasks("emails")["kwargs"][0] == {"iban": "DE02", "password": "x"}


@pytest.mark.parametrize(
    "mask",
    [
        "iban", re.compile("x"), 7, [b"iban"], [7], [re.compile(b"x")], ["--"], [""],
        [re.compile("x*")], [re.compile("(a+)+$")], [re.compile(r"(\w+\s?)+;")],
        [re.compile("(x|x)*y")], [re.compile(r"a*a*a*a*b")],
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_used_is_refused_at_once(mask: Any) -> None:
    """Issue 11, secrets: a pattern that a stranger's text could hold up is refused."""
    with pytest.raises(tt.InvalidMask, match="nothing was contacted"):
        tt.connect("amqp://nobody:x@127.0.0.1:1/", mask=mask)


@pytest.mark.parametrize("pattern", [r"C-\d+", r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", r"(?i)ann|bob"])
def test_an_ordinary_pattern_is_taken(pattern: str) -> None:
    with tt.connect("memory://", mask=[re.compile(pattern)]) as cluster:
        assert cluster.workers().empty
