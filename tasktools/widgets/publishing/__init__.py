"""The publish widget: a form for one task or a batch, what became of it, and how it ends.

`state` holds what was entered, and the rules; `feed` is the thread that talks to the broker;
`figure` shows what became of a batch; `view` is the widgets, with `inputs` and `results`.
"""

from tasktools.widgets.publishing.view import PublishWidget, publish

__all__ = ("PublishWidget", "publish")
