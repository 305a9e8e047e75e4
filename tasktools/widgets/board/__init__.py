"""The live board: how a cluster fares, second by second.

`strip` keeps what was seen, in columns of equal length; `series` makes values of them, `layout`
chooses what is shown, and `board` packs both for the page; `tiles` are the numbers of the moment.
`feed` is the thread that samples the cluster or reads its recording, `state` holds what was chosen
and what is on screen, `figure` talks to the page, whose scripts draw (`vendor/` is uPlot), and
`picture` is what stays of it in a notebook.
"""

from tasktools.widgets.board.state import BoardState
from tasktools.widgets.board.view import Dashboard, dashboard

__all__ = ("BoardState", "Dashboard", "dashboard")
