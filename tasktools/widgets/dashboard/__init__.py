"""The live board: queues, workers, tasks and failures of a cluster, second by second.

`column_buffer` keeps samples in columns of equal length; `series` computes the values of the charts
from them, `chart_selection` selects the topics to show, and `board_data` packs everything for the
page; `tiles` are the numbers of the last sample. `feed` is the thread that samples the cluster or
reads its recording; it starts the thread of `findings`, which judges the cluster. `state` holds the
user's choices and what is on screen; `figure` talks to the page, whose scripts draw (`vendor/` is
uPlot).
"""

from tasktools.widgets.dashboard.state import BoardState
from tasktools.widgets.dashboard.view import Dashboard, dashboard

__all__ = ("BoardState", "Dashboard", "dashboard")
