"""The picture or table that a saved notebook shows in place of a widget; hidden beside a live
widget.

VS Code, Colab, GitHub and nbconvert, which do not run the widget, show this output, too.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any, Final

# Neighbours in an output area: this style sheet, the live widget, and its picture. Without a
# kernel, JupyterLab writes an error in place of the widget; then the picture is shown instead.
_BESIDE: Final = ".jp-OutputArea-child:has(.tasktools-frozen)"
LIVE: Final = "tasktools-live"
"""The class of each widget on a page that runs it."""
_STYLE: Final = f"""<style class="tasktools-frozen">
{_BESIDE} {{ display: none; }}
{_BESIDE} + :has(.{LIVE}) + .jp-OutputArea-child {{ display: none; }}
{_BESIDE} + .jp-OutputArea-child > .jupyter-widgets:not(:has(*)) {{ display: none; }}
</style>"""


class StaticOutput:
    """A picture or a table beside a widget, in every output that shows the widget."""

    def __init__(self, caption: str) -> None:
        self._caption = caption
        self._picture: dict[str, str] = {}
        self._id = f"tasktools-{uuid.uuid4().hex}"
        self.is_shown = False

    def show_live(self, live: Mapping[str, Any]) -> None:
        """Show *live*, the mime bundle of a widget."""
        from IPython.display import display

        display({"text/html": _STYLE, "text/plain": ""}, raw=True)
        display({**live, "text/plain": self._caption}, raw=True)

    def show_static(self) -> None:
        """Show the picture after the widget, and renew it from now on."""
        from IPython.display import display

        display(self._bundle(), raw=True, display_id=self._id)
        self.is_shown = True

    def take_png(self, png: bytes) -> None:
        """Replace the picture by *png*."""
        self._take("image/png", base64.b64encode(png).decode("ascii"))

    def take_html(self, html: str) -> None:
        """Replace the picture by *html*, which gets the style of the widgets."""
        self._take("text/html", f'<div class="tasktools-saved">{html}</div>')

    @property
    def has_picture(self) -> bool:
        """Whether a page has drawn the picture."""
        return "image/png" in self._picture

    def _take(self, mime: str, content: str) -> None:
        from IPython.display import update_display

        if self._picture == {mime: content}:
            return
        self._picture = {mime: content}
        if self.is_shown:
            update_display(self._bundle(), display_id=self._id, raw=True)

    def _bundle(self) -> dict[str, str]:
        return {"text/plain": "", **self._picture}  # the output of the widget has the text
