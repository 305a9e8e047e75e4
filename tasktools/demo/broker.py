"""`DemoBroker`: a memory broker whose cluster is alive."""

from __future__ import annotations

import threading
import weakref
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import MalformedDSN
from tasktools.core.layout import FP
from tasktools.demo.shop import FUNCTIONS
from tasktools.demo.simulation import STEP, Simulation

_AHEAD: Final = 120.0
"""Seconds that have passed in the demo when it is opened."""
_MOST_BEHIND: Final = 60.0
"""Seconds that are caught up with after a pause (a laptop that slept); what is longer is lost."""
_SEED: Final = 7
_SPEEDS: Final = (0.1, 5.0)


class DemoBroker(MemoryBroker):
    """A client of a small made-up cluster: 6 topics, 8 workers, a day in ten minutes.

    The same *seed* shows the same cluster. *speed* makes tasks arrive and be done faster; the
    heartbeats stay as they are. `connect` starts the thread that keeps the cluster alive,
    `close` ends it. With a *clock* of your own there is no thread: call `catch_up`.
    """

    def __init__(
        self,
        *,
        seed: int = _SEED,
        speed: float = 1.0,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._time = _DemoClock(clock or SystemClock())
        self._own_time = clock is not None
        server = MemoryServer(clock=self._time)
        super().__init__(
            server, layout=FP, clock=self._time, read_only=read_only, demo=True, address="demo://"
        )
        self._pace = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._time.at = self._time.present() - _AHEAD
        self.cluster_state()  # listen from the beginning
        self._simulation = Simulation(
            server,
            lambda: MemoryBroker(server, layout=FP, clock=self._time),
            seed=seed,
            speed=speed,
            start=self._time.time(),
        )
        server.listen(self._simulation.hear)
        self.catch_up(_AHEAD)
        for function in FUNCTIONS:  # as if their messages had been seen
            self._functions.note(function.rpartition(":")[2], function)

    @classmethod
    def from_dsn(cls, dsn: str, *, read_only: bool = False) -> Self:
        """Open ``demo://``, with ``?seed=7&speed=2``. Raises `MalformedDSN`."""
        parts = urlsplit(dsn)
        if parts.netloc or parts.path.strip("/"):
            raise _malformed("names a host or path")
        seed, speed = _SEED, 1.0
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            try:
                match name:
                    case "seed":
                        seed = int(value)
                    case "speed":
                        speed = float(value)
                    case _:
                        raise _malformed(f"has an option {name!r} that is not known")
            except ValueError as error:
                if isinstance(error, MalformedDSN):
                    raise
                raise _malformed(f"has a {name} that is no number") from None
        if not _SPEEDS[0] <= speed <= _SPEEDS[1]:
            raise _malformed(f"has a speed that is not between {_SPEEDS[0]:g} and {_SPEEDS[1]:g}")
        return cls(seed=seed, speed=speed, read_only=read_only)

    def connect(self) -> None:
        """Let time pass from now on."""
        super().connect()
        if self._thread is None and not self._own_time:
            self._thread = threading.Thread(
                target=_live,
                args=(weakref.ref(self), self._stop),
                name="tasktools-demo",
                daemon=True,
            )
            self._thread.start()

    def close(self) -> None:
        """Stop the cluster; idempotent."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        super().close()
        self._simulation.close()

    def catch_up(self, at_most: float = _MOST_BEHIND) -> None:
        """Let the cluster live up to the clock's present."""
        with self._pace:
            present = self._time.present()
            simulation = self._simulation
            simulation.now = max(simulation.now, present - at_most)
            while simulation.now + STEP <= present:
                self._time.at = simulation.now + STEP
                simulation.step()
            self._time.at = None


class _DemoClock:
    """A clock that can be held at a moment *at* of the past, while the demo catches up."""

    def __init__(self, clock: Clock) -> None:
        self.at: float | None = None
        self._clock = clock

    def present(self) -> float:
        """The time that it is."""
        return self._clock.time()

    def time(self) -> float:
        at = self.at
        return self._clock.time() if at is None else at

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


def _live(broker: weakref.ref[DemoBroker], stop: threading.Event) -> None:
    """Let time pass until the broker is closed, or nobody holds it any more."""
    while not stop.wait(STEP / 2):
        alive = broker()
        if alive is None:
            return
        try:
            alive.catch_up()
        except Exception as error:  # noqa: BLE001 - shown as the broker's note
            alive.note = f"the DEMO has stopped, what is shown is old: {error!r}"
            return
        del alive


def _malformed(why: str) -> MalformedDSN:
    return MalformedDSN(
        f"The DSN {why}; nothing was opened. The demo is demo://, or demo://?seed=7&speed=2."
    )
