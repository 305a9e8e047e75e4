"""The incident widget: what is wrong, why, since when, and the way from there to the remedy.

`state` holds every rule, `feed` is the thread that judges the cluster and looks up what was chosen,
`finding_list` draws the lines, `view` binds all.
"""

from tasktools.widgets.incident.state import IncidentState
from tasktools.widgets.incident.view import IncidentWidget, incident

__all__ = ("IncidentState", "IncidentWidget", "incident")
