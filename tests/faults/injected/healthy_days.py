"""Healthy days, of 50 minutes each: idle hours, bursts, failures now and then, deploys."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.faults.registry import Story, healthy
from tests.faults.world import Program, World

_MINUTES = 50
_HOUR_SECONDS = 60.0  # of such a day


def _day(world: World, seed: int) -> Story:
    dice = random.Random(seed)
    peers, ours = world.peers[-1:], world.ours[-1:]

    def task() -> None:
        error = "no such address" if dice.random() < 0.05 else None
        world.emails.task = {"delay": dice.uniform(0.05, 0.6), "error": error}
        world.reports.task = {"delay": dice.choice((0.1, 0.3, 3.0))}

    def hour() -> None:
        match dice.choice(("idle", "steady", "burst", "burst", "batch", "deploy", "scale")):
            case "idle":
                world.emails.rate, world.reports.rate = 0, 0
            case "burst":
                time.sleep(10)
                world.emails.rate = 6.6
                time.sleep(10)
            case "batch":
                world.publish("emails", 300, delay=0.02)
            case "deploy":
                _replace(peers, world.start_peer)
                _replace(ours, world.start_ours)
            case "scale":
                extra = world.start_peer()
                time.sleep(50)
                extra.stop()
        time.sleep(10)
        world.emails.rate, world.reports.rate = 2.0, 0.5

    world.repeat(0.4, task)
    yield
    world.repeat(_HOUR_SECONDS - 30, hour)


def _replace(running: list[Program], start: Callable[[], Program]) -> None:
    """Start a new worker; stop the old one when the new one works."""
    new = start()
    time.sleep(12)
    running.pop().stop()
    running.append(new)


def _days() -> None:
    for number in range(1, 9):

        def day(world: World, seed: int = number) -> Story:
            yield from _day(world, seed)

        healthy(f"ok_day_{number}", watch=_MINUTES * 60.0, ours=1)(day)


_days()
