"""Numbers that stand for names and for facts of workers, which saves space in the file."""

from __future__ import annotations

import sqlite3

import msgspec

from tasktools.history.samples import Facts
from tasktools.history.tables import Row


class NameTable:
    """The tables ``names`` and ``worker_facts``, with the numbers used so far in memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[str, int] = {}
        self._facts: dict[tuple[str, Facts], int] = {}

    def id(self, name: str) -> int:
        """Return the number of *name*; add it if it is new."""
        number = self._ids.get(name)
        if number is None:
            number = self._ids[name] = self._number("names", {"name": name})
        return number

    def maybe(self, name: str | None) -> int | None:
        """Return the number of *name*; `None` for `None`."""
        return None if name is None else self.id(name)

    def fact(self, worker_id: str, facts: Facts) -> int:
        """Return the number of these *facts* of a worker; add them if they are new."""
        number = self._facts.get((worker_id, facts))
        if number is None:
            row = {"worker": self.id(worker_id), "facts": msgspec.json.encode(facts).decode()}
            number = self._number("worker_facts", row)
            self._facts[worker_id, facts] = number
        return number

    def forget(self) -> None:
        """Forget all numbers: some of them may not be in the file."""
        self._ids.clear()
        self._facts.clear()

    def _number(self, table: str, row: Row) -> int:
        values = ", ".join(f":{column}" for column in row)
        self._connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({values})", row
        )
        where = " AND ".join(f"{column} = :{column}" for column in row)
        (number,) = self._connection.execute(
            f"SELECT rowid FROM {table} WHERE {where}", row
        ).fetchone()
        return int(number)
