"""The publish widget: a form for one task or a batch, and the states of the published tasks.

`state` holds the form and every rule; `feed` is the thread that talks to the broker; `inputs`,
`results` and `view` are the widgets.
"""

from tasktools.widgets.publish.view import PublishWidget, publish

__all__ = ("PublishWidget", "publish")
