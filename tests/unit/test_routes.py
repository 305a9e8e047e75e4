"""Routes through exchanges, as RabbitMQ takes them."""

from __future__ import annotations

import pytest

from tasktools.core.routes import Binding, Exchange, Routes
from tests.timing import within


def routes(kind: str, *keys: str) -> Routes:
    """An exchange of *kind* with a queue bound to it by each of *keys*, called as the key is."""
    bindings = [Binding(source="x", destination=key, key=key) for key in keys]
    return Routes([Exchange(name="x", type=kind)], bindings)


@pytest.mark.parametrize(
    ("pattern", "key", "reaches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("#", "a.b.c", True),
        ("#", "", True),
        ("*", "", False),
        ("#.b.*", "a.b.b.c", True),
        ("#.b.#.d", "b.c.b.d", True),
        ("#.b.#.d", "b.c.d.e", False),
        ("a.#", "a", True),
        ("a.#.z", "a.z", True),
        ("a.#.z", "a.b.c.z", True),
        ("a.#.z", "a.b.c", False),
        ("*.#.#", "a", True),
        ("a#", "ab", False),
    ],
)
def test_a_topic_exchange_matches_words(pattern: str, key: str, *, reaches: bool) -> None:
    """Issue 11, row 7: the whole way of a dead letter is checked."""
    assert routes("topic", pattern).reached("x", key) == frozenset([pattern] if reaches else [])


def test_a_key_is_held_against_few_of_thousands_of_patterns() -> None:
    """Issue 11, "resource use": 3,000 patterns took `topics()` 90 s for 1,000 queues."""
    patterns = [form.format(n) for n in range(1_000) for form in ("d.q{}.#", "*.q{}", "#.q{}.#.x")]
    many = routes("topic", *patterns)
    with within(3.0):
        for n in range(1_000):
            assert many.reached("x", f"d.q{n}") == frozenset({f"d.q{n}.#", f"*.q{n}"})


def test_direct_and_fanout_exchanges_take_no_patterns() -> None:
    assert routes("direct", "a.*", "a.b").reached("x", "a.b") == frozenset({"a.b"})
    assert routes("fanout", "a", "b").reached("x", "c") == frozenset({"a", "b"})


def test_what_cannot_be_told_is_not_called_a_dead_end() -> None:
    assert routes("headers", "a").reached("x", "a") is None
    assert routes("headers").reached("x", "a") == frozenset()
    with_policy = Routes([Exchange(name="x", type="topic", has_policy=True)], [])
    assert with_policy.reached("x", "a") is None


def test_exchanges_behind_an_exchange_are_followed_once_each() -> None:
    exchanges = [
        Exchange(name="x", type="fanout"),
        Exchange(name="y", type="direct", alternate="z"),
        Exchange(name="z", type="fanout"),
    ]
    bindings = [
        Binding(source="x", destination="y", key="", to_exchange=True),
        Binding(source="z", destination="x", key="", to_exchange=True),
        Binding(source="z", destination="q", key=""),
    ]
    assert Routes(exchanges, bindings).reached("x", "a") == frozenset({"q"})


def test_an_exchange_that_is_missing_leads_nowhere_and_the_default_one_by_name() -> None:
    assert routes("topic").reached("missing", "a") == frozenset()
    assert routes("topic").reached("", "emails") == frozenset({"emails"})
