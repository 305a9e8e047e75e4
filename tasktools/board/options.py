"""The options with which the kernel of a board connects, passed in its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

VARIABLE: Final = "TASKTOOLS_BOARD"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardOptions:
    """The options of `tasktools.connect`, without the DSN, which is in BROKER_DSN.

    *folder* is the working directory, to which relative paths in the environment and in the DSN
    refer. A URL may hold a password, so it is left out of the repr.
    """

    folder: str = "."
    management_url: str | None = None
    layout: str | None = None
    dialect: tuple[str, ...] = ()
    dead: str | None = None
    timeout: float = 5.0
    mask: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "BoardOptions(…)"

    def as_arguments(self) -> dict[str, Any]:
        """Return the options as arguments of `tasktools.connect`."""
        without = {"management_url": False} if self.management_url == "off" else {}
        arguments = asdict(self) | without
        del arguments["folder"]
        return arguments

    @classmethod
    def from_environment(cls) -> BoardOptions:
        """Return the options that the command line has left in the environment."""
        options = json.loads(os.environ.get(VARIABLE, "{}"))
        lists = {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
        return cls(**(options | lists))

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """Put the options into the environment of the processes that are started within the
        context."""
        os.environ[VARIABLE] = json.dumps(asdict(self))
        try:
            yield
        finally:
            del os.environ[VARIABLE]
