"""A table of very many dead letters, for a kernel to show."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pandas as pd

from tasktools.widgets.table import Column, TableState

COLUMNS: Final = (
    Column("position", "#", "count", 64),
    Column("task_name", "Task", width=170),
    Column("error_type", "Error", width=130),
    Column("error", "Message", width=240, grow=True),
    Column("deaths", "Deaths", "count", 70),
    Column("last_death", "Died", "time", 96),
    Column("age", "Waited", "span", 80),
    Column("replayed", "Replayed", "flag", 80),
    Column("size", "Size", "size", 80),
    Column("task_id", "Task id", "id", 140),
    Column("kwargs", "Arguments", "json", 280),
)

_ERRORS: Final = (
    ("Timeout", "smtp-{n}.example.net:25 did not answer within 30 s"),
    ("KeyError", "'customer_{n}'"),
    ("ConnectionError", "10.0.{n}.7:5432 refused the connection"),
    ("ValueError", "amount of order {n} must not be negative: '-12.50'\nrolled back"),
)
_TASKS: Final = ("shop.emails:send_email", "shop.orders:charge", "shop.images:resize")


def dead_letters(count: int, *, seed: int = 4) -> pd.DataFrame:
    """Return *count* rows; every fourth failed with a Timeout."""
    rng = random.Random(seed)
    errors = [_ERRORS[n % 4] for n in range(count)]
    ages = np.array([rng.randrange(1, 400_000) for _ in range(count)], dtype="timedelta64[s]")
    now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us")
    return pd.DataFrame(
        {
            "key": pd.array([f"{rng.getrandbits(80):020x}" for _ in range(count)], dtype="string"),
            "position": pd.array(range(count), dtype="Int64"),
            "task_name": pd.array([_TASKS[n % 3] for n in range(count)], dtype="string"),
            "error_type": pd.array([name for name, _ in errors], dtype="string"),
            "error": pd.array(
                [text.format(n=n % 251) for n, (_, text) in enumerate(errors)], dtype="string"
            ),
            "deaths": pd.array([rng.randrange(1, 7) for _ in range(count)], dtype="Int64"),
            "last_death": pd.Series(now - ages).dt.tz_localize("UTC"),
            "age": ages.astype("timedelta64[us]"),
            "replayed": pd.array([None if n % 5 else n % 2 == 0 for n in range(count)], "boolean"),
            "size": pd.array([rng.randrange(200, 9_000) for _ in range(count)], dtype="Int64"),
            "task_id": pd.array([f"t-{rng.getrandbits(48):012x}" for _ in range(count)], "string"),
            "kwargs": [{"to": f"user{n}@example.com", "order": n} for n in range(count)],
        }
    )


def state_of(count: int) -> TableState:
    """Return the state of a table that shows *count* dead letters."""
    state = TableState(COLUMNS)
    state.show(dead_letters(count))
    return state
