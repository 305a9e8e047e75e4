"""pandas and numpy, imported when they are first used: together they take 0.3 s, which the command
line and a worker can do without.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ("is_frame", "np", "pd")


class _LazyModule(ModuleType):
    """A module of another package that is imported when an attribute of it is first used."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)  # the next time it is found at once
        return value


class _LazyPandas(_LazyModule):
    def __getattr__(self, name: str) -> Any:
        import pandas as pd

        # Names, errors and arguments in frames are of strangers, and so none of it is a formula:
        # Jupyter would typeset what stands between two dollars. It is a switch for all its tables.
        pd.set_option("display.html.use_mathjax", False)
        return super().__getattr__(name)


if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np = _LazyModule("numpy")
    pd = _LazyPandas("pandas")


def is_frame(value: object) -> bool:
    """Whether *value* is a DataFrame; where pandas was not imported, nothing is."""
    return "pandas" in sys.modules and isinstance(value, pd.DataFrame)
