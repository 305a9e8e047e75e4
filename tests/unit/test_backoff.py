"""Pauses between attempts."""

from __future__ import annotations

from tasktools.core.backoff import Backoff


def test_pauses_double_up_to_the_most_and_lose_at_most_a_half() -> None:
    backoff = Backoff(1.0, 5.0)
    for longest in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert longest / 2 <= backoff.pause() <= longest


def test_pauses_begin_again_after_a_reset() -> None:
    backoff = Backoff(1.0, 100.0)
    for _ in range(5):
        backoff.pause()
    assert backoff.pause() >= 16.0
    backoff.reset()
    assert backoff.pause() <= 1.0


def test_pauses_of_two_clients_differ() -> None:
    first, second = Backoff(1.0, 1.0), Backoff(1.0, 1.0)
    assert [first.pause() for _ in range(9)] != [second.pause() for _ in range(9)]
