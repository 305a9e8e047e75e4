"""Names as numbers, which take less room; and what seldom changes of workers likewise."""

from __future__ import annotations

import sqlite3

import msgspec

from tasktools.ops.recording.sampling import Facts, Row


class Names:
    """The numbers of names, and of what seldom changes of workers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[str, int] = {}
        self._facts: dict[tuple[str, Facts], int] = {}

    def id(self, name: str) -> int:
        """Return the number of *name*."""
        found = self._ids.get(name)
        if found is None:
            found = self._ids[name] = self._number("names", ("name",), (name,))
        return found

    def maybe(self, name: str | None) -> int | None:
        """Return the number of *name*, if there is one."""
        return None if name is None else self.id(name)

    def fact(self, worker_id: str, facts: Facts) -> int:
        """Return the number of what seldom changes of a worker."""
        found = self._facts.get((worker_id, facts))
        if found is None:
            told = (self.id(worker_id), msgspec.json.encode(facts).decode())
            found = self._number("worker_facts", ("worker", "facts"), told)
            self._facts[worker_id, facts] = found
        return found

    def forget(self) -> None:
        """Forget the numbers, some of which may not be in the file."""
        self._ids.clear()
        self._facts.clear()

    def _number(self, table: str, columns: tuple[str, ...], values: Row) -> int:
        marks = ", ".join("?" * len(values))
        self._connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})",
            values,
        )
        where = " AND ".join(f"{column} = ?" for column in columns)
        (found,) = self._connection.execute(
            f"SELECT rowid FROM {table} WHERE {where}",
            values,
        ).fetchone()
        return int(found)
