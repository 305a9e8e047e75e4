"""Widgets for notebooks: what the library can do, with buttons.

They need ipywidgets and plotly, which `import tasktools` alone does not load:
``tasktools.widgets`` is imported when it is first used.
"""

from tasktools.widgets import figures
from tasktools.widgets.board import Dashboard, dashboard
from tasktools.widgets.publishing import PublishWidget, publish
from tasktools.widgets.triage import DeadLettersWidget, dead_letters

__all__ = (
    "Dashboard",
    "DeadLettersWidget",
    "PublishWidget",
    "dashboard",
    "dead_letters",
    "figures",
    "publish",
)
