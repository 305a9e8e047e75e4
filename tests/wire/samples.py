"""Messages that real Celery and Dramatiq put on a broker, as bytes; `capture.py` makes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from tasktools.core.amqp import properties
from tasktools.core.models import Properties

FOLDER: Final = Path(__file__).parent
Peer = Literal["celery", "dramatiq"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A message as it came: *raw* are the bytes of its properties, *task* what was submitted."""

    name: str
    exchange: str
    routing_key: str
    raw: bytes
    body: bytes
    task: Mapping[str, Any] | None = None

    @property
    def properties(self) -> Properties:
        """The properties, decoded."""
        return properties.decode(self.raw)

    @property
    def value(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    def as_json(self) -> str:
        """Return it as a line of the file; a body that is no text is in base64."""
        values: dict[str, Any] = {
            "name": self.name,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "properties": base64.b64encode(self.raw).decode(),
        }
        try:
            values["body"] = self.body.decode()
        except UnicodeDecodeError:
            values["body_base64"] = base64.b64encode(self.body).decode()
        if self.task is not None:
            values["task"] = self.task
        return json.dumps(values, ensure_ascii=False)


@cache
def samples(peer: Peer, kind: str) -> tuple[Sample, ...]:
    """Return the samples of a kind: `tasks`; of Celery also `events`, `requests`, `replies`."""
    rows = json.loads((FOLDER / f"{peer}.json").read_text())[kind]
    return tuple(_read(row) for row in rows)


def sample(peer: Peer, kind: str, name: str) -> Sample:
    """Return the first sample with that name."""
    return next(each for each in samples(peer, kind) if each.name == name)


def _read(row: dict[str, Any]) -> Sample:
    text = row.get("body")
    return Sample(
        name=row["name"],
        exchange=row["exchange"],
        routing_key=row["routing_key"],
        raw=base64.b64decode(row["properties"]),
        body=base64.b64decode(row["body_base64"]) if text is None else text.encode(),
        task=row.get("task"),
    )
