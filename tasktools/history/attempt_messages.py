"""The matching of each attempt of a task to its message, where a task was published more than once.

Events and copies of messages arrive over two connections, so either may arrive a little late: the
message of the next attempt even before the start of this one. Attempts within a second are matched
by the order of attempts and messages, not by a time margin.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tasktools.history.file_checks import Count, Time
from tasktools.history.store import OUTCOMES
from tasktools.history.tables import select

MAX_DELAY_MS: Final = 1_000
"""The longest time by which an event or a message may arrive late."""
# As likely as a delay of so many ms: that a recording began between
_MISSED_MESSAGE_MS: Final = 20  # the first message and its attempt, if the first message is a retry
_MISSED_ATTEMPT_MS: Final = 100  # the first attempt and the message of the next one
_MAX_CHOICES: Final = 16
_LOST: Final = OUTCOMES.index("lost")


class MessageOfTask(msgspec.Struct, frozen=True, array_like=True):
    """A message of a task, which arrived at `at` (ms)."""

    task: str
    n: Count
    at: Time
    attempts: Count | None = None
    """Earlier attempts of the task, if the message says how many."""


class AttemptOfTask(msgspec.Struct, frozen=True, array_like=True):
    """An attempt of a task; times in ms."""

    task: str
    n: Count
    started: Time
    ended: Time | None
    outcome: int | None


_MESSAGES: Final = "FROM temp.wanted AS w JOIN messages AS t ON t.task = w.task ORDER BY t.n"
_ATTEMPTS: Final = "FROM tries AS t WHERE at >= ? AND task IN temp.wanted ORDER BY n"


def messages_by_attempt(connection: sqlite3.Connection, tasks: Iterable[str]) -> dict[int, int]:
    """Return the number of its message for the number of each attempt of *tasks*, if recorded."""
    fill_wanted(connection, tasks)
    messages: defaultdict[str, list[MessageOfTask]] = defaultdict(list)
    for message in select(connection, MessageOfTask, _MESSAGES):
        messages[message.task].append(message)
    if not messages:
        return {}
    first = min(of_task[0].at for of_task in messages.values()) - MAX_DELAY_MS
    attempts: defaultdict[str, list[AttemptOfTask]] = defaultdict(list)
    started = "ifnull(t.started, t.at)"
    for attempt in select(connection, AttemptOfTask, _ATTEMPTS, (first,), started=started):
        attempts[attempt.task].append(attempt)
    pairs: dict[int, int] = {}
    for task, of_task in messages.items():
        pairs |= paired(attempts[task], of_task)
    return pairs


def fill_wanted(connection: sqlite3.Connection, tasks: Iterable[str]) -> None:
    """Fill the table ``temp.wanted`` with the ids of *tasks*."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (task TEXT PRIMARY KEY)")
    connection.execute("DELETE FROM temp.wanted")
    rows = ((task,) for task in tasks)
    connection.executemany("INSERT OR IGNORE INTO temp.wanted VALUES (?)", rows)


class _Pairing(msgspec.Struct, frozen=True):
    """Pairs of attempts and messages, up to some attempt."""

    place: int = -1
    """Position of the last message that has an attempt; -1 if none has."""
    missed: int = 0
    """Cost of what did not arrive at all: a delay (ms) that is as likely."""
    latest: int = 0
    """The longest delay (ms) that these pairs imply."""
    late: int = 0
    """The sum of all delays (ms)."""
    numbers: tuple[int, int] | None = None
    """The last pair: numbers of the attempt and of its message."""
    before: _Pairing | None = None

    @property
    def cost(self) -> tuple[int, int]:
        """The cost of these pairs; the lowest is the most likely."""
        return self.missed + self.latest, self.late


def paired(attempts: Iterable[AttemptOfTask], messages: list[MessageOfTask]) -> dict[int, int]:
    """Return the number of its message for the number of each attempt, all of one task, in order.

    An attempt after one that ended needs a message of its own. Of all ways to pair them, the one
    with the least delay is chosen. A delay is a message that arrived after the start of its
    attempt, or the end of an attempt that arrived after the next message. An attempt whose own
    message did not arrive gets the message before.
    """
    times = [message.at for message in messages]
    began_late = bool(messages and messages[0].attempts)
    pairings, earlier = [_Pairing()], None
    for attempt in attempts:
        is_new = earlier is None or earlier.outcome not in (None, _LOST)
        likeliest: dict[int, _Pairing] = {}
        for pairing in pairings:
            choices = list(_messages_of(attempt, times, pairing.place))
            if pairing.place < 0:
                choices.append((pairing.place, _MISSED_MESSAGE_MS if began_late else MAX_DELAY_MS))
            else:  # its message did not arrive, or was redelivered
                choices.append((pairing.place, MAX_DELAY_MS if is_new else 0))
            for place, missed in choices:
                is_own = place > pairing.place or not is_new
                late = _lateness(attempt, times, place) if is_own and place >= 0 else 0
                extended = _Pairing(
                    place,
                    pairing.missed + missed,
                    max(pairing.latest, late),
                    pairing.late + late,
                    (attempt.n, messages[place].n) if place >= 0 else None,
                    pairing,
                )
                if place not in likeliest or extended.cost < likeliest[place].cost:
                    likeliest[place] = extended
        pairings = sorted(likeliest.values(), key=lambda pairing: pairing.cost)[:_MAX_CHOICES]
        earlier = attempt
    chosen: _Pairing | None = pairings[0]
    pairs: dict[int, int] = {}
    while chosen is not None:
        if chosen.numbers is not None:
            number, message = chosen.numbers
            pairs[number] = message
        chosen = chosen.before
    return pairs


def _messages_of(attempt: AttemptOfTask, times: list[int], last: int) -> Iterator[tuple[int, int]]:
    """Yield the position of each message after *last* that may belong to *attempt*, with the cost
    of the messages skipped."""
    oldest = max(bisect_right(times, attempt.started - MAX_DELAY_MS) - 1, 0)
    end = bisect_right(times, attempt.started + MAX_DELAY_MS)
    begin = max(last + 1, oldest)
    skipped = _MISSED_ATTEMPT_MS if last < 0 else MAX_DELAY_MS
    for place in range(begin, min(end, begin + _MAX_CHOICES)):
        yield place, (place - begin) * skipped


def _lateness(attempt: AttemptOfTask, times: list[int], place: int) -> int:
    """Return the delay (ms) if the message at *place* belongs to *attempt*."""
    late = max(times[place] - attempt.started, 0)
    if attempt.ended is not None and attempt.outcome != _LOST and place + 1 < len(times):
        late += min(max(attempt.ended - times[place + 1], 0), MAX_DELAY_MS)
    return late
