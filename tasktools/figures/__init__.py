"""Plotly figures for reports, made from frames over time.

>>> import tasktools as tt
>>> with tt.connect("demo://") as cluster:
...     figure = tt.widgets.figures.queue_depth(cluster.queue_depth(since="1D"))
>>> figure.layout.title.text
'Queue depth · DEMO'
>>> figure.write_html("queue_depth.html")  # doctest: +SKIP

Each function takes the frame of the method of `Cluster` with its name (`dead_letters` takes the
frame of `queue_depth`, `timeline` that of `tasktools.timeline`, `by_hour` that of
`tasktools.capacity.by_hour`) and returns a `plotly.graph_objects.Figure`. It reads and changes
nothing else.

* Times are UTC. A missing value is a gap in the line, never 0.
* Of more than 8 topics the 8 busiest are shown; the others are added up as "other" if a sum has a
  meaning.
* A line has at most 400 points; of a longer one, the least and the greatest value of each stretch.
"""

from tasktools.figures.by_hour import by_hour
from tasktools.figures.failures import failures
from tasktools.figures.spans import service_time, waiting_time
from tasktools.figures.timeline import timeline
from tasktools.figures.topics import dead_letters, queue_depth, throughput
from tasktools.figures.utilisation import utilisation

__all__ = (
    "by_hour",
    "dead_letters",
    "failures",
    "queue_depth",
    "service_time",
    "throughput",
    "timeline",
    "utilisation",
    "waiting_time",
)
