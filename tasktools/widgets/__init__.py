"""Widgets for notebooks: the live board, incident, capacity, dead letters, publishing, and figures.

`import tasktools` does not load ipywidgets and plotly; ``tasktools.widgets`` is imported when it
is first used.
"""

from tasktools import figures
from tasktools.widgets.capacity import CapacityWidget, capacity
from tasktools.widgets.dashboard import Dashboard, dashboard
from tasktools.widgets.dead_letters import DeadLettersWidget, dead_letters
from tasktools.widgets.incident import IncidentWidget, incident
from tasktools.widgets.publish import PublishWidget, publish
from tasktools.widgets.topic_links import NotebookLinks, notebook_links

__all__ = (
    "CapacityWidget",
    "Dashboard",
    "DeadLettersWidget",
    "IncidentWidget",
    "NotebookLinks",
    "PublishWidget",
    "capacity",
    "dashboard",
    "dead_letters",
    "figures",
    "incident",
    "notebook_links",
    "publish",
)
