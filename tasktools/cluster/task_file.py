"""Tasks in a file, CSV or JSON lines, as the frame that `Cluster.publish_many` takes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tasktools.core.errors import InvalidTask
from tasktools.core.lazy_imports import pd

COLUMNS: Final = ("topic", "task_name", "args", "kwargs", "headers", "priority", "ttl", "delay")
NEEDED: Final = ("topic",)
_NAMES: Final = ("topic", "task_name")
_JSON: Final[Mapping[str, type]] = {"args": list, "kwargs": dict, "headers": dict}
_NUMBERS: Final = ("priority", "ttl", "delay")
_DELIMITERS: Final = (",", ";", "\t")
_DECIMAL_COMMA: Final = re.compile(r"\s*\d+,\d+\s*")


def read(text: str, *, needed: Sequence[str] = NEEDED) -> pd.DataFrame:
    """Return the tasks in *text*; its first character distinguishes JSON lines from CSV.

    Cells of CSV are separated by commas, semicolons or tabs, as its first line has them. Raises
    `InvalidTask`, with the line's number, for a line that does not make a task, for example one
    without a *needed* column.
    """
    text = text.removeprefix("\ufeff")
    is_json = text.lstrip()[:1] in ("{", "[")
    numbered = _lines(text) if is_json else _records(text)
    rows = [_task(number, task, needed) for number, task in numbered]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def _lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            task = _parsed(number, "the line", line)
            if not isinstance(task, dict):
                raise _wrong(number, "is not a JSON object")
            yield number, task


def _records(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    delimiter = _delimiter(text)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        for record in reader:
            if None in record:
                raise _wrong(reader.line_num, "has more cells than there are columns")
            cells = {name: cell for name, cell in record.items() if cell}
            for name in cells.keys() & {*_NUMBERS}:
                if _DECIMAL_COMMA.fullmatch(cells[name]):
                    raise _wrong(
                        reader.line_num,
                        f"has {name} {cells[name]!r}; write numbers with a point, as 1.5",
                    )
            for name in cells.keys() & {*_JSON, *_NUMBERS}:
                cells[name] = _parsed(reader.line_num, name, cells[name])
            yield reader.line_num, cells
    except csv.Error as error:
        raise _wrong(reader.line_num, f"is not CSV ({error})") from error


def _delimiter(text: str) -> str:
    """Return the delimiter with which the first line has most of the known columns."""

    def columns(delimiter: str) -> int:
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        return sum(cell.strip() in COLUMNS for cell in cells)

    return max(_DELIMITERS, key=columns)


def _task(number: int, task: dict[str, Any], needed: Sequence[str]) -> dict[str, Any]:
    unknown = [str(name) for name in task if name not in COLUMNS]
    if unknown:
        raise _wrong(
            number, f"has an unknown column {', '.join(unknown)}; there are {', '.join(COLUMNS)}"
        )
    for name in _NAMES:
        value = task.get(name)
        if (name in needed or value is not None) and (not isinstance(value, str) or not value):
            raise _wrong(number, f"has no {name}")
    for name, wanted in _JSON.items():
        if task.get(name) is not None and not isinstance(task[name], wanted):
            what = "array" if wanted is list else "object"
            raise _wrong(number, f"has {name} that are no JSON {what}")
    priority = task.get("priority")
    if priority is not None and (type(priority) is not int or not 0 <= priority <= 255):
        raise _wrong(number, "has a priority that is no whole number from 0 to 255")
    for name in ("ttl", "delay"):
        seconds = task.get(name)
        if seconds is not None and type(seconds) not in (int, float):
            raise _wrong(number, f"has a {name} that is no number of seconds")
    return {name: task.get(name) for name in COLUMNS}


def _parsed(number: int, what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(number, f"cannot be read: {what} is not JSON ({error})") from error


def _wrong(number: int, why: str) -> InvalidTask:
    return InvalidTask(f"Line {number} of the file {why}; nothing was published.")
