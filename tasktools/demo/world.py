"""The topics, kinds of tasks and workers of the demo cluster, as values."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from tasktools.core.clock import moment
from tasktools.core.models import Outgoing, Properties, TopicSettings

DAY: Final = 600.0
"""Seconds in which a day of the demo passes."""

INSTANCE: Final = "rmq:d3305eed"
"""Begins the message ids of the demo's own tasks, as a peer's instance does."""

POISON: Final = b'{"id": "rmq:0ddba11:7", "topic": "orders", "payload": {"task_id": "4f1'
"""A message cut off in the middle: not JSON."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """An error of a task: where in its program, and whether it *passes* with time."""

    error_type: str
    error: str
    where: str
    passes: bool = False

    def traceback(self) -> str:
        """Return the traceback that Python would print."""
        return f"Traceback (most recent call last):\n{self.where}\n{self}\n"

    def __str__(self) -> str:
        return f"{self.error_type}: {self.error}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of task. Its service time is lognormal: *typical* seconds, spread *sigma*."""

    function: str
    typical: float
    sigma: float
    fails: float = 0.0
    mishaps: tuple[Mishap, ...] = ()

    @property
    def name(self) -> str:
        """The task's name: its function's."""
        return self.function.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and what arrives there: *rate* a second on average, over the day as people buy.

    In a *chain* the next task is published when the last one is done.
    """

    name: str
    kind: Kind
    rate: float
    at_start: int = 0
    at_most: int = 400
    burst: int = 0
    chain: bool = False
    lock: str | None = None
    settings: TopicSettings | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A worker process. *clock* is how many seconds its host's clock is ahead. A worker of
    tasktools *tells_why*: it writes the failure into a dead letter, which peers do not."""

    host: str
    topics: tuple[str, ...]
    capacity: int
    clock: float = 0.0
    any_topic: bool = False
    goes_silent: bool = False
    tells_why: bool = False


_IN_CHARGE: Final = '  File "/srv/shop/payments.py", line {line}, in charge_card\n    {code}'
_DECLINED: Final = Mishap(
    "CardDeclined",
    "the card ending in {card} was declined",
    _IN_CHARGE.format(line=41, code="raise CardDeclined(card, answer)"),
)
_EXPIRED: Final = Mishap(
    "CardDeclined",
    "the card ending in {card} has expired",
    _IN_CHARGE.format(line=38, code="raise CardDeclined(card, answer)"),
)
_NO_ANSWER: Final = Mishap(
    "Timeout",
    "the bank did not answer within 10 s",
    _IN_CHARGE.format(line=33, code="answer = bank.ask(card_token, timeout=10)"),
    passes=True,
)
_DISCREPANCY: Final = Mishap(
    "ValueError",
    "the amount of order 1{card} is not what the order says",
    _IN_CHARGE.format(line=27, code="check_amount(order, amount)"),
)

_SEND_EMAIL: Final = Kind("shop.emails:send_email", 1.4, 0.5)
_RESIZE_IMAGE: Final = Kind("shop.images:resize_image", 2.2, 0.6)
_BUILD_REPORT: Final = Kind("shop.reports:build_report", 8.0, 0.5)
_EXPORT_LEDGER: Final = Kind("shop.reports:build_report", 90.0, 0.2)
_CHARGE_CARD: Final = Kind(
    "shop.payments:charge_card",
    0.9,
    0.4,
    fails=0.06,
    mishaps=(_DECLINED, _EXPIRED, _NO_ANSWER, _NO_ANSWER, _DISCREPANCY),
)

TOPICS: Final = (
    Topic("emails", _SEND_EMAIL, 1.6),
    Topic("newsletters", _SEND_EMAIL, 0.05, burst=120),
    Topic("orders", _CHARGE_CARD, 1.2),
    Topic("images", _RESIZE_IMAGE, 1.0),
    Topic(
        "reports",
        _BUILD_REPORT,
        0.3,
        at_start=32,
        at_most=60,
        settings=TopicSettings(concurrency_limit=2, dead_letter_enabled=True),
    ),
    Topic(
        "exports",
        _EXPORT_LEDGER,
        0.0,
        chain=True,
        lock="ledger",
        settings=TopicSettings(concurrency_limit=1, dead_letter_enabled=True),
    ),
)

NODES: Final = (
    Node("mail-1", ("emails", "newsletters"), 4),
    Node("mail-2", ("emails", "newsletters"), 4),
    Node("pay-1", ("orders",), 2, tells_why=True),
    Node("pay-2", ("orders", "emails"), 2, clock=7200.0),
    Node("media-1", ("images",), 4),
    Node("media-2", ("images", "newsletters"), 4, goes_silent=True),
    Node("report-1", ("reports", "exports"), 4),
    Node("spare-1", tuple(topic.name for topic in TOPICS), 4, any_topic=True, tells_why=True),
)

BY_TOPIC: Final = {topic.name: topic for topic in TOPICS}


def rhythm(hour: float) -> float:
    """Return the load at *hour* of the day: 1 on average, most at 14, least at 2."""
    return 1.0 + 0.7 * math.cos((hour - 14.0) / 24.0 * math.tau)


def arguments(kind: Kind, dice: random.Random) -> dict[str, Any]:
    """Return keyword arguments for a task of *kind*."""
    number = dice.randrange(1000, 9999)
    match kind.name:
        case "send_email":
            template = dice.choice(("welcome", "receipt", "shipped", "reminder"))
            return {"to": f"customer{number}@example.com", "template": template}
        case "charge_card":
            token = f"tok_{dice.getrandbits(64):016x}"
            return {"order": 10_000 + number, "amount": number / 100, "card_token": token}
        case "resize_image":
            return {"image": f"products/{number}.jpg", "width": dice.choice((320, 640, 1280))}
        case _:
            report = dice.choice(("sales", "stock", "returns", "vat"))
            return {"report": report, "shop": number % 7 + 1}


def message(topic: Topic, number: int, now: float, dice: random.Random) -> Outgoing:
    """Return the *number*-th task of the demo, for *topic*, as a peer writes it."""
    kind, at = topic.kind, moment(now)
    task_id = str(UUID(int=dice.getrandbits(128), version=4))
    message_id = f"{INSTANCE}:{number}"
    payload: dict[str, Any] = {
        "task_id": task_id,
        "task_name": kind.name,
        "func_name": kind.function,
        "args": [],
        "kwargs": arguments(kind, dice),
        "notifier_config": [],
        "parent_task_id": None,
        "max_retries": 0,
        "retry_delay": 0,
        "task_origin": "demo",
        "topic": topic.name,
        "task_type": "native",
        "allow_concurrent": True,
        "extra_context": {},
        "created_at": str(at.replace(tzinfo=None)),
    }
    envelope = {
        "id": message_id,
        "topic": topic.name,
        "payload": payload,
        "headers": {"type": "task"},
        "attempts": 0,
        "created_at": at.isoformat(),
    }
    return Outgoing(
        topic=topic.name,
        message_id=message_id,
        body=json.dumps(envelope).encode(),
        properties=Properties(message_id=message_id, timestamp=at, delivery_mode=2),
    )


def poison(now: float) -> Outgoing:
    """Return a message that no worker can read."""
    properties = Properties(message_id="rmq:0ddba11:7", timestamp=moment(now), delivery_mode=2)
    return Outgoing(topic="orders", message_id="rmq:0ddba11:7", body=POISON, properties=properties)


@dataclass(frozen=True, slots=True)
class Fate:
    """The duration of a task, and the mishap with which it ends, if any."""

    seconds: float
    mishap: Mishap | None = None


def fate(
    task_id: str, message_id: str | None, topic: str, speed: float, *, again: bool = False
) -> Fate:
    """Return the fate of a task, the same for each delivery; when it is tried *again* later,
    temporary faults are over."""
    dice = random.Random(task_id)  # noqa: S311 - a demo
    known = BY_TOPIC.get(topic)
    if known is None or not (message_id or "").startswith(INSTANCE):
        return Fate(dice.uniform(1.0, 4.0))  # a task of the user's own
    kind = known.kind
    seconds = kind.typical * dice.lognormvariate(0.0, kind.sigma) / speed
    if dice.random() >= kind.fails:
        return Fate(seconds)
    mishap = dice.choice(kind.mishaps)
    if again and mishap.passes:
        return Fate(seconds)
    error = mishap.error.format(card=dice.randrange(1000, 9999))
    return Fate(seconds, replace(mishap, error=error))
