"use strict";
(() => {
  // --- the values at a time, in all figures at once ---------------------------------
  const WIDTH = 1120, LEFT = 108, RIGHT = 20, STEP = 4;
  const charts = [...document.querySelectorAll("figure.chart > svg")].map(svg => ({
    svg,
    height: svg.viewBox.baseVal.height - 42,
    outputs: [...svg.parentNode.querySelectorAll("output")],
    series: [...svg.querySelectorAll(".series")].map(group => ({
      places: group.dataset.x.split(" ").map(Number), words: group.dataset.v.split("|"),
    })),
  }));
  let place = null;

  const nearest = (places, at) => {
    let best = -1;
    places.forEach((x, n) => {
      if (best < 0 || Math.abs(x - at) < Math.abs(places[best] - at)) best = n;
    });
    return Math.abs(places[best] - at) <= 24 ? best : -1;
  };

  const show = at => {
    place = at === null ? null : Math.min(Math.max(at, LEFT), WIDTH - RIGHT);
    for (const chart of charts) {
      chart.svg.querySelector(".cursor")?.remove();
      if (place !== null) {
        const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
        for (const [name, value] of [["x1", place], ["x2", place], ["y1", 0], ["y2", chart.height]]) {
          line.setAttribute(name, value);
        }
        line.classList.add("cursor");
        chart.svg.append(line);
      }
      chart.series.forEach(({places, words}, n) => {
        const index = place === null ? -1 : nearest(places, place);
        chart.outputs[n].textContent = index < 0 ? "" : words[index] || "–";
      });
    }
  };

  for (const {svg} of charts) {
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", event => {
      const box = svg.getBoundingClientRect();
      show((event.clientX - box.left) / box.width * WIDTH);
    });
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("blur", () => show(null));
    svg.addEventListener("keydown", event => {
      const by = {ArrowLeft: -STEP, ArrowRight: STEP}[event.key];
      if (by === undefined) return;
      event.preventDefault();
      show(place === null ? (by > 0 ? LEFT : WIDTH - RIGHT) : place + by);
    });
  }

  // --- the frames --------------------------------------------------------------------
  const contents = async row => {
    const coded = row.querySelector("a").getAttribute("href").split(",")[1];
    const bytes = Uint8Array.from(atob(coded), character => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  const rows = [...document.querySelectorAll("tr.frame")];
  if (window.DecompressionStream) {
    for (const row of rows) {
      const button = row.querySelector(".save");
      button.hidden = false;
      button.addEventListener("click", async () => {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([await contents(row)], {type: "text/csv"}));
        link.download = `${row.dataset.name}.csv`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      });
    }
  }

  const check = document.getElementById("check");
  if (window.DecompressionStream && window.crypto?.subtle) {
    check.hidden = false;
    check.addEventListener("click", async () => {
      const wrong = [];
      for (const row of rows) {
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await contents(row)));
        const hex = [...digest].map(byte => byte.toString(16).padStart(2, "0")).join("");
        if (hex !== row.dataset.sha256) wrong.push(row.dataset.name);
      }
      document.getElementById("checked").textContent = wrong.length
        ? ` Not as written: ${wrong.join(", ")}`
        : ` All ${rows.length} frames are as written.`;
    });
  }

  // --- on paper everything is open ----------------------------------------------------
  let closed = [];
  addEventListener("beforeprint", () => {
    show(null);
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(each => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(each => { each.open = false; }));
})();
