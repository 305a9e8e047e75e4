"""An invisible view that gives screen readers the names and the values of the sliders."""

from __future__ import annotations

from typing import Final

import anywidget
import traitlets

# ipywidgets shows a label beside a slider and its value in words, and ties neither to the handle.
_ESM: Final = """
export default {
  render({ el }) {
    let observer;
    const name = (part) => {
      for (const slider of part.querySelectorAll(".widget-slider")) {
        const words = (selector) => slider.querySelector(selector)?.textContent ?? "";
        const handle = slider.querySelector(".noUi-handle");
        handle?.setAttribute("aria-label", words(".widget-label"));
        handle?.setAttribute("aria-valuetext", words(".widget-readout"));
      }
    };
    const timer = setInterval(() => { // until it is on the page
      const part = el.closest(".tasktools-capacity");
      if (!part) return;
      clearInterval(timer);
      observer = new MutationObserver(() => name(part));
      observer.observe(part, { childList: true, characterData: true, subtree: true });
      name(part);
    }, 100);
    return () => { clearInterval(timer); observer?.disconnect(); };
  }
};
"""


class SliderNames(anywidget.AnyWidget):
    """Names the sliders of the capacity widget that it is a child of."""

    _esm = traitlets.Unicode(_ESM).tag(sync=True)
