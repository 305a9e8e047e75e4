"""The balance of a queue, with lengths that lag its counters."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tasktools.core.server_facts import ServerQueue
from tasktools.diagnosis.queue_balance import Balances
from tests.unit.diagnosis import facts_factory as make


def balances(queue: ServerQueue, newest: int = 0) -> Balances:
    """Return the balances of a minute."""
    return Balances(queue, 60.0, newest=newest)


def test_a_healthy_queue_is_balanced() -> None:
    healthy = balances(make.queue())
    assert (healthy.span, healthy.published) == (60.0, 55.0)  # the milder one is a sample shorter
    assert (healthy.lost, healthy.rejected, healthy.vanished) == (0, 0, 0)


def test_a_rejected_message_is_no_expired_one() -> None:
    rejected = balances(make.queue(delivered=make.growing(1.0), acked=make.growing(0.5)))
    assert rejected.rejected == pytest.approx(27.5)
    assert rejected.vanished == pytest.approx(0)
    expired = balances(make.queue(delivered=make.growing(0.5), acked=make.growing(0.5)))
    assert expired.rejected == pytest.approx(0)
    assert expired.vanished == pytest.approx(27.5)


def test_messages_that_need_no_acknowledgement_are_not_lost() -> None:
    queue = make.queue(acked=make.level(), delivered_no_ack=make.growing(1.0))
    assert balances(queue).lost == 0


def test_what_a_dead_worker_held_is_not_rejected() -> None:
    """Issue 13: its 32 messages are ready again, and nobody takes them."""
    still = make.level(100)
    queue = make.queue(
        published=still,
        acked=still,
        delivered=still,
        unacked_series=make.samples(32, 32, 32, 0, 0, 0),
        ready_series=make.samples(0, 0, 0, 32, 32, 32),
    )
    assert balances(queue).rejected == 0


def test_a_burst_whose_length_lags_is_not_lost() -> None:
    """300 messages at once looked like 284 lost."""
    queue = make.queue(
        published=make.samples(0, 0, 0, 300, 300, 300),
        acked=make.samples(0, 0, 0, 0, 10, 20),
        delivered=make.samples(0, 0, 0, 32, 42, 52),
        ready_series=make.samples(0, 0, 0, 0, 258, 248),
        unacked_series=make.samples(0, 0, 0, 0, 32, 32),
    )
    assert balances(queue).vanished <= 10  # what was acknowledged between two samples
    assert balances(queue, newest=2).vanished <= 10


@pytest.mark.parametrize(
    ("counted_at", "seen_at"), [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (4, 5), (5, 4)]
)
def test_a_burst_at_the_first_samples_is_not_lost(counted_at: int, seen_at: int) -> None:
    """Issue 13, healthy days: counters and lengths may be a sample apart there too."""
    queue = make.queue(
        published=make.samples(*(300 * (n >= counted_at) for n in range(8))),
        acked=make.level(),
        delivered=make.level(),
        ready_series=make.samples(*(300 * (n >= seen_at) for n in range(8))),
        unacked_series=make.level(),
    )
    assert balances(queue, newest=2).vanished == 0


@pytest.mark.parametrize(("published_at", "seen_at"), [(4, 5), (5, 6), (0, 1), (1, 0), (6, 5)])
@pytest.mark.parametrize("ready", [0, 40])
def test_a_burst_that_is_acknowledged_a_sample_later_is_not_lost(
    published_at: int, seen_at: int, ready: int
) -> None:
    """Issue 13, healthy days: once in 600 looks, a burst that was worked off within 5 s seemed to
    have vanished: the publisher's channel had told its counter, the consumer's had not."""
    consumed = make.samples(*((300 - ready) * (n >= seen_at) for n in range(8)))
    queue = make.queue(
        published=make.samples(*(300 * (n >= published_at) for n in range(8))),
        acked=consumed,
        delivered=consumed,
        ready_series=make.samples(*(ready * (n >= published_at) for n in range(8))),
        unacked_series=make.level(),
    )
    assert balances(queue, newest=2).surely_vanished == 0


def test_what_vanished_in_earnest_is_seen_however_counters_lag() -> None:
    expiry = make.queue(acked=make.level(), delivered=make.level())
    assert balances(expiry, newest=2).surely_vanished == pytest.approx(45)
    slow = make.queue(acked=make.growing(0.2), delivered=make.growing(0.2))
    assert balances(slow, newest=2).surely_vanished == pytest.approx(34)  # of 36: 2 may come late
    assert balances(make.queue(), newest=2).surely_vanished == 0


def test_a_purge_is_lost_at_once_and_expiry_is_not() -> None:
    purge = make.queue(
        acked=make.level(),
        delivered=make.level(),
        ready_series=make.samples(0, 5, 10, 15, 0, 5, 10),
        published=make.samples(0, 5, 10, 15, 20, 25, 30),
        unacked_series=make.level(0),
    )
    assert balances(purge).largest_share == 1.0
    expiry = make.queue(acked=make.level(), delivered=make.level())
    assert balances(expiry).largest_share == pytest.approx(1 / 12)
    assert balances(make.queue()).largest_share == 0.0


@pytest.mark.parametrize(
    "queue",
    [
        replace(make.queue(), acked=None),
        make.queue(acked=make.samples(1)),
        make.queue(ready_series=make.samples(5, until=make.NOW + 2)),
    ],
    ids=["no counter", "one sample", "no time in common"],
)
def test_without_samples_there_is_no_balance(queue: ServerQueue) -> None:
    assert balances(queue).span == 0
    assert balances(queue).lost == 0
    assert balances(queue).largest_share == 0
