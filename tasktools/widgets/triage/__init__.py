"""The dead-letter widget: look, group, select, edit, plan, run, and account for every message.

`looking`, `planning` and `state` hold what was entered and found, and every rule; `feed` is the
thread that talks to the broker, by `orders`; `groups`, `edits` and `detail` are pure; `inputs`,
`results` and `view` are what is on screen.
"""

from tasktools.widgets.triage.state import DeadLettersState
from tasktools.widgets.triage.view import DeadLettersWidget, dead_letters

__all__ = ("DeadLettersState", "DeadLettersWidget", "dead_letters")
