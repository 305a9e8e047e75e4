"""Facts of the server in a recording: one compressed value every 30 s."""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection
from typing import Annotated, Final

import msgspec

from tasktools.brokers.base import Broker
from tasktools.core.errors import BrokerError
from tasktools.core.server_facts import ServerFacts, all_missing
from tasktools.history.store import number
from tasktools.history.tables import Row, has_table, select

_log = logging.getLogger("tasktools.recorder")

_EVERY_SECONDS: Final = 30.0
_MAX_AGE_SECONDS: Final = 75.0
"""Largest age (s) of the facts that are used for a moment, so that one failed query does not
matter."""
_MAX_BYTES: Final = 64 * 1024**2


class _Row(msgspec.Struct, frozen=True, array_like=True):
    facts: Annotated[bytes, msgspec.Meta(max_length=_MAX_BYTES)]


class ServerSampler:
    """A thread that asks *broker* for facts of the server every 30 s.

    The thread is separate since these queries take longer than all others of a tick; the recorder
    writes the answers with its next tick. *wanted* returns the topics to ask for, and which of them
    have a limit. It ends when *stopping* is set.
    """

    def __init__(
        self,
        broker: Broker,
        wanted: Callable[[], tuple[Collection[str], Collection[str]]],
        stopping: threading.Event,
    ) -> None:
        self._broker = broker
        self._wanted = wanted
        self._stopping = stopping
        self._thread: threading.Thread | None = None
        self._new: Row | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(
            target=self._serve, name="tasktools-recorder-server", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, after its last answer."""
        if self._thread is not None:
            self._thread.join()

    def take(self) -> Row | None:
        """Return the row of the server's answers since the last call; `None` if there were none."""
        new, self._new = self._new, None
        return new

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._ask()
            self._stopping.wait(_EVERY_SECONDS)

    def _ask(self) -> None:
        topics, limits = self._wanted()
        try:
            # Compressed here, and not in a tick: 1,000 queues take some 6 ms.
            self._new = row(self._broker.server_facts(topics, limits=limits))
        except BrokerError:
            pass  # the next tick says why
        except Exception:  # noqa: BLE001 - the recorder must survive any bug
            _log.exception("asking for facts of the server failed")


def encode(facts: ServerFacts) -> bytes:
    """Return *facts* as a recording stores them."""
    return zlib.compress(msgspec.msgpack.encode(facts))


def decode(stored: bytes) -> ServerFacts:
    """Return stored facts. Raises `ValueError` (also `msgspec.DecodeError`) for anything else."""
    inflating = zlib.decompressobj()
    try:
        encoded = inflating.decompress(stored, _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return msgspec.msgpack.decode(encoded, type=ServerFacts)


def server_facts(connection: sqlite3.Connection, at: float) -> ServerFacts:
    """Return the newest facts of at most 75 s before *at*; without any, all parts are missing."""
    if not has_table(connection, "server_facts"):
        return all_missing(at, "an older tasktools made this recording, which holds none of it")
    source = "FROM server_facts AS t WHERE at > ? AND at <= ? ORDER BY at DESC LIMIT 1"
    rows = select(connection, _Row, source, (number(at - _MAX_AGE_SECONDS), number(at)))
    if not rows:
        return all_missing(at, "the recording holds nothing of it from the minute before")
    return decode(rows[0].facts)


def latest(connection: sqlite3.Connection, at: float) -> ServerFacts | None:
    """Return the newest facts that are kept from before *at*; `None`: there are none."""
    if not has_table(connection, "server_facts"):
        return None
    source = "FROM server_facts AS t WHERE at <= ? ORDER BY at DESC LIMIT 1"
    rows = select(connection, _Row, source, (number(at),))
    return decode(rows[0].facts) if rows else None


def row(facts: ServerFacts) -> Row:
    """Return the row of *facts*."""
    return {"at": number(facts.at), "facts": encode(facts)}
