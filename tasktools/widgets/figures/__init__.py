"""Frames over time as plotly figures, for reports.

>>> import tasktools as tt
>>> with tt.connect("demo://") as cluster:
...     figure = tt.widgets.figures.queue_depth(cluster.queue_depth(since="1D"))
>>> figure.layout.title.text
'Queue depth · DEMO'
>>> figure.write_html("queue_depth.html")  # doctest: +SKIP

Each takes the frame of the method of `Cluster` that has its name (`dead_letters` that of
`queue_depth`) and returns a `plotly.graph_objects.Figure`; nothing else is read or changed.

* Times are UTC. What is missing is a gap, never 0, and never bridged.
* Of more than 8 topics the 8 busiest are shown, and the others added up as "other", where that
  means something.
* A line has at most 400 points; of more, the least and the greatest of each stretch are kept.
* *theme* is ``light`` or ``dark``; *threshold* is drawn as a line across.

A frame of something else raises `ValueError`; one without rows is a figure that says so.
"""

from tasktools.widgets.figures.failures import failures
from tasktools.widgets.figures.spans import service_time, waiting_time
from tasktools.widgets.figures.topics import dead_letters, queue_depth, throughput
from tasktools.widgets.figures.utilisation import utilisation

__all__ = (
    "dead_letters",
    "failures",
    "queue_depth",
    "service_time",
    "throughput",
    "utilisation",
    "waiting_time",
)
