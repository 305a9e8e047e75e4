"""A table that is quick at 100,000 rows, and whose selection consists of keys, not of positions.

`columns` says how values are shown; `rows` filters and sorts a frame; `state` holds the user's
choices and every rule; `requests` reads what the browser asks for; `view` is the widget, whose
script only draws the rows in sight.
"""

from tasktools.widgets.table.columns import Column
from tasktools.widgets.table.rows import Sort
from tasktools.widgets.table.state import TableState
from tasktools.widgets.table.view import TableWidget

__all__ = ("Column", "Sort", "TableState", "TableWidget")
