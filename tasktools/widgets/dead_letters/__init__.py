"""The dead-letter widget: look, group, select, edit, plan, run, and account for every message.

`browse_state`, `plan_state` and `state` are the three parts of one state, which holds every rule;
`feed` is the thread that talks to the broker; `requests` are the values that both exchange.
`groups`, `edits` and `detail` are pure; `inputs`, `results` and `view` are the widgets.
"""

from tasktools.widgets.dead_letters.state import DeadLettersState
from tasktools.widgets.dead_letters.view import DeadLettersWidget, dead_letters

__all__ = ("DeadLettersState", "DeadLettersWidget", "dead_letters")
