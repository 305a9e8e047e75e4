"""The dead-letter widget: look, group, select, edit, plan, run, and account for every message.

`looking`, `planning` and `state` hold what was entered and found, and every rule; `feed` is the
thread that talks to the broker, by `orders`; `groups`, `edits` and `detail` are pure; `inputs`,
`results` and `view` are what is on screen.
"""

from tasktools.widgets.dead_letters.state import DeadLettersState
from tasktools.widgets.dead_letters.view import DeadLettersWidget, dead_letters

__all__ = ("DeadLettersState", "DeadLettersWidget", "dead_letters")
