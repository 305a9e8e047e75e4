"""A table that pages: quick at 100,000 rows, and what is selected is keys, not places on screen.

`columns` says what is shown and how; `rows` filters, sorts and cuts a frame; `state` holds what
was chosen, and the rules; `intents` reads what the browser asks for; `view` is the widget, whose
script draws the rows in sight and knows no rule.
"""

from tasktools.widgets.table.columns import Column
from tasktools.widgets.table.rows import Sort
from tasktools.widgets.table.state import TableState
from tasktools.widgets.table.view import TableWidget

__all__ = ("Column", "Sort", "TableState", "TableWidget")
