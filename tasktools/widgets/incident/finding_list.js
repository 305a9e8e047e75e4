// Draws the findings and says which was clicked. Whatever comes from a cluster is set as text.

function make(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function makePairs(title, pairs) {
  if (!pairs.length) return [];
  const table = make("table", "ti-pairs"), body = make("tbody", "");
  for (const [name, value] of pairs) {
    const row = make("tr", ""), head = make("th", "", name);
    head.scope = "row";
    row.append(head, make("td", "", value));
    body.append(row);
  }
  table.append(body);
  return [make("h4", "ti-part", title), table];
}

function makeCall(call) {
  const box = make("div", "ti-call");
  const copy = make("button", "ti-copy", "Copy");
  copy.type = "button";
  copy.dataset.lmSuppressShortcuts = "";
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(call);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it, and copy it by hand";
    }
  });
  box.append(make("code", "", call), copy);
  return box;
}

function makeDetail(line) {
  const detail = make("div", "ti-detail");
  detail.append(...makePairs("Evidence", line.evidence), ...makePairs("Against it", line.against));
  if (line.changed.length) {
    const list = make("ul", "ti-changed");
    list.append(...line.changed.map((text) => make("li", "", text)));
    detail.append(make("h4", "ti-part", "Changed shortly before, which need not be the cause"), list);
  }
  if (line.remedy) detail.append(make("h4", "ti-part", "What helps"), make("p", "ti-remedy", line.remedy));
  if (line.call) detail.append(makeCall(line.call));
  if (line.sources) detail.append(make("p", "ti-sources", `rests on: ${line.sources}`));
  return detail;
}

function makeLine(line, chosen, choose) {
  const item = make("li", `ti-finding ti-${line.severity}`);
  item.style.setProperty("--ti-depth", Math.min(line.depth, 3));
  const head = make("button", "ti-head");
  head.type = "button";
  head.dataset.key = line.key;
  head.dataset.lmSuppressShortcuts = ""; // JupyterLab would take keys for commands
  head.setAttribute("aria-expanded", chosen);
  const facts = [line.since && `since ${line.since} UTC`, line.effect && `a new task waits ${line.effect}`,
    line.cause && `explained by ${line.cause}`].filter(Boolean);
  head.append(
    make("span", "ti-severity", line.severity), make("span", "ti-sentence", line.finding),
    make("span", "ti-facts", facts.join(" · ")));
  head.addEventListener("click", () => choose(line.key));
  item.append(head);
  if (chosen) item.append(makeDetail(line));
  return item;
}

function makeFolded([title, sentences]) {
  const folded = make("details", "ti-folded");
  const list = make("ul", "");
  list.append(...sentences.map((text) => make("li", "", text)));
  folded.append(make("summary", "", title), list);
  return folded;
}

export default {
  render({ model, el }) {
    const root = make("div", "tasktools-findings");
    const list = make("ul", "ti-list");
    list.setAttribute("aria-label", "Findings");
    const rest = make("div", "ti-rest");
    root.append(list, rest);
    const choose = (key) => model.send({ key });
    const draw = () => {
      const focused = document.activeElement?.dataset?.key;
      const lines = model.get("lines");
      list.replaceChildren(...lines.map((line) => makeLine(line, line.key === model.get("chosen"), choose)));
      if (!lines.length) list.append(make("li", "ti-none", model.get("empty")));
      if (focused) [...list.querySelectorAll(".ti-head")].find((head) => head.dataset.key === focused)?.focus();
    };
    const fold = () => {
      const open = [...rest.children].map((child) => child.open);
      const folded = model.get("folded").filter(([, sentences]) => sentences.length);
      rest.replaceChildren(...folded.map(makeFolded));
      [...rest.children].forEach((child, i) => { child.open = open[i] ?? false; });
    };
    list.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const heads = [...list.querySelectorAll(".ti-head")], at = heads.indexOf(document.activeElement);
      if (!step || at < 0) return;
      heads[at + step]?.focus();
      event.preventDefault();
    });
    draw();
    fold();
    for (const name of ["lines", "chosen", "empty"]) model.on(`change:${name}`, draw);
    model.on("change:folded", fold);
    el.append(root);
    return () => { model.off(null, draw); model.off(null, fold); };
  },
};
