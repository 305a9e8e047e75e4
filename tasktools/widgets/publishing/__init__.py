"""The publish widget: a form for one task or a batch, what became of it, and how it ends.

Four objects: `state` (what was entered, and the rules), `feed` (a thread that talks to the
broker), `figure` (what became of a batch, as a bar), `view` (the widgets, bound to the state).
"""

__all__ = ("PublishWidget", "publish")
