"""`DemoBroker`: a memory broker with simulated workers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.errors import MalformedDSN
from tasktools.core.layout import FP
from tasktools.core.suggestions import did_you_mean
from tasktools.demo.incidents import INCIDENTS
from tasktools.demo.shop import FUNCTIONS
from tasktools.demo.simulation import STEP, Simulation

_PAST: Final = 120.0
_PAST_OF_INCIDENT: Final = 300.0
"""Seconds that have passed in the demo when it is opened: with an incident so many that what was
usual before is still known some minutes later."""
_MAX_BEHIND_SECONDS: Final = 60.0
"""The longest pause (s) that is simulated afterwards (of a laptop that slept); a longer one is
cut."""
_MAX_ROUNDS: Final = 5
_SAMPLE_STEPS: Final = 2
"""Steps of the simulation between two samples."""
_SEED: Final = 7
_SPEEDS: Final = (0.1, 5.0)


class DemoBroker(MemoryBroker):
    """A client of a small made-up cluster: 6 topics, 8 workers, a day in ten minutes.

    The same *seed* shows the same cluster. *speed* makes tasks arrive and be done faster; the
    heartbeats stay as they are. With an *incident* (`tasktools.demo.incidents`) a fault began a
    minute before the opening. `connect` starts the thread that runs the simulation, `close` ends
    it. With a *clock* of your own there is no thread: call `catch_up`.

    A demo that is not *opened* has no past yet: `open` simulates it, for a caller that samples it
    and uses `clock`.
    """

    def __init__(
        self,
        *,
        seed: int = _SEED,
        speed: float = 1.0,
        read_only: bool = False,
        clock: Clock | None = None,
        incident: str | None = None,
        opened: bool = True,
    ) -> None:
        self._time = _DemoClock(clock or SystemClock())
        self.clock = _DemoClock(clock or SystemClock())
        """The clock for callers that sample the demo: the machine's, except while the past is
        simulated. The demo's own clock stands still within each step."""
        self._sample: Callable[[], object] = lambda: None
        self._steps = 0
        self._own_time = clock is not None
        server = MemoryServer(clock=self._time)
        super().__init__(
            server,
            layout=FP,
            clock=self._time,
            read_only=read_only,
            demo=True,
            address=_dsn(seed=seed, speed=speed, incident=incident),
        )
        self._pace = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._past = _PAST if incident is None else _PAST_OF_INCIDENT
        opening = self._time.present()
        self._time.at = opening - self._past
        self.cluster_state()  # listen from the beginning
        self._simulation = Simulation(
            server,
            lambda: MemoryBroker(server, layout=FP, clock=self._time),
            seed=seed,
            speed=speed,
            start=self._time.time(),
            opening=opening,
            incident=None if incident is None else INCIDENTS[incident],
        )
        server.listen(self._simulation.handle_event)
        for function in FUNCTIONS:  # as if their messages had been seen
            self._functions.note(function.rpartition(":")[2], function)
        if opened:
            self.open()

    def open(self, sample: Callable[[], object] = lambda: None) -> None:
        """Simulate the time before the opening; *sample* is called every simulated second, also
        afterwards."""
        self._sample = sample
        self.clock.at = self._time.at
        try:
            self.catch_up(self._past)
            for _ in range(_MAX_ROUNDS):  # time went on meanwhile, on a busy machine by much
                if self._time.present() - self._simulation.now < _SAMPLE_STEPS * STEP:
                    break
                self.catch_up()
        finally:
            self.clock.at = None

    @classmethod
    def from_dsn(cls, dsn: str, *, read_only: bool = False, opened: bool = True) -> Self:
        """Return the demo of ``demo://``, with ``?seed=7&speed=2&incident=dead_worker``. Raises
        `MalformedDSN`."""
        parts = urlsplit(dsn)
        if parts.netloc or parts.path.strip("/"):
            raise _malformed("names a host or path")
        seed, speed, incident = _SEED, 1.0, None
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            try:
                match name:
                    case "seed":
                        seed = int(value)
                    case "speed":
                        speed = float(value)
                    case "incident":
                        incident = _checked_incident(value)
                    case _:
                        raise _malformed(f"has an option {name!r} that is not known")
            except ValueError as error:
                if isinstance(error, MalformedDSN):
                    raise
                raise _malformed(f"has a {name} that is no number") from None
        if not _SPEEDS[0] <= speed <= _SPEEDS[1]:
            raise _malformed(f"has a speed that is not between {_SPEEDS[0]:g} and {_SPEEDS[1]:g}")
        return cls(seed=seed, speed=speed, read_only=read_only, incident=incident, opened=opened)

    def connect(self) -> None:
        """Start the simulation."""
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

    def catch_up(self, at_most: float = _MAX_BEHIND_SECONDS) -> None:
        """Simulate up to the clock's present time."""
        with self._pace:
            present = self._time.present()
            simulation = self._simulation
            simulation.now = max(simulation.now, present - at_most)
            while simulation.now + STEP <= present:
                self._time.at = simulation.now + STEP
                if self.clock.at is not None:
                    self.clock.at = self._time.at
                simulation.step()
                self._steps += 1
                if self._steps % _SAMPLE_STEPS == 0:
                    self._sample()
            self._time.at = None


class _DemoClock:
    """A clock that can be held at a moment *at* of the past, while the demo catches up."""

    def __init__(self, clock: Clock) -> None:
        self.at: float | None = None
        self._clock = clock

    def present(self) -> float:
        """Return the current time."""
        return self._clock.time()

    def time(self) -> float:
        at = self.at
        return self._clock.time() if at is None else at

    def monotonic(self) -> float:
        return self.time()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


def _live(broker: weakref.ref[DemoBroker], stop: threading.Event) -> None:
    """Run the simulation until the broker is closed or garbage-collected."""
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


def _dsn(*, seed: int, speed: float, incident: str | None) -> str:
    """Return the DSN that opens such a demo."""
    options = {"seed": seed, "speed": f"{speed:g}", "incident": incident}
    usual = {"seed": _SEED, "speed": "1", "incident": None}
    query = urlencode({name: options[name] for name in options if options[name] != usual[name]})
    return f"demo://?{query}" if query else "demo://"


def _checked_incident(name: str) -> str:
    if name in INCIDENTS:
        return name
    listed = ", ".join(INCIDENTS)
    hint = did_you_mean(name, INCIDENTS)
    raise MalformedDSN(
        f"The DSN names an incident {name!r} that the demo does not have; nothing was opened"
        f"{f': {hint}' if hint else '.'} The demo has {listed}."
    )


def _malformed(why: str) -> MalformedDSN:
    return MalformedDSN(
        f"The DSN {why}; nothing was opened. The demo is demo://, or demo://?seed=7&speed=2."
    )
