"""axe-core on a widget of a page: what keeps people from reading or using it."""

from __future__ import annotations

from typing import Any, Final

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Locator

_IMPACTS: Final = ("serious", "critical")
# JupyterLab's body has no height and hides what overflows: axe would take all of it for invisible.
_RUN: Final = """async part => {
  document.body.style.minHeight = '100vh';
  const {violations, passes} = await axe.run(part, {resultTypes: ['violations', 'passes']});
  document.body.style.minHeight = '';
  const all = [...violations, ...passes].filter(({id}) => id === 'color-contrast');
  return {violations, contrasts: all.flatMap(({nodes}) => nodes).length};
}"""
_MIN_CONTRASTS: Final = 8  # texts of a widget; of what axe takes for invisible it checks none
_LAB_PIXELS: Final = 240  # of JupyterLab above and below a notebook


def assert_accessible(part: Locator) -> None:
    """Check that axe-core finds nothing serious or critical in *part*, as it looks now.

    The page gets high enough for all of it: the contrast of what is out of sight is not checked.
    """
    page, box = part.page, part.bounding_box()
    assert box is not None
    before = page.viewport_size
    assert before is not None
    height = max(before["height"], round(box["height"]) + _LAB_PIXELS)
    page.set_viewport_size({"width": before["width"], "height": height})
    part.evaluate("part => part.scrollIntoView()")
    page.wait_for_timeout(300)  # JupyterLab lays itself out anew
    problems, contrasts = violations(part)
    page.set_viewport_size(before)
    assert not problems, "\n".join(problems)
    assert contrasts >= _MIN_CONTRASTS, "axe-core takes what is on screen for invisible"


def violations(part: Locator) -> tuple[list[str], int]:
    """Return what axe-core finds serious or critical in *part*, and how many texts it compared
    with their background."""
    page = part.page
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    result: dict[str, Any] = part.evaluate(_RUN)
    problems = [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in result["violations"]
        if violation["impact"] in _IMPACTS
        for node in violation["nodes"]
    ]
    return problems, result["contrasts"]
