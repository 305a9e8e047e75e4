// Draws the rows in sight and says what was clicked. Every rule is in Python (state.py).
// Whatever comes from a message is set as text, never as markup.

const LINE = 26; // px; --tt-line
const UNDER = 18; // px more of a row that has a second line
const CHECK = 32; // px, the column of boxes
const FEWEST = 3; // lines of a table without rows
const AHEAD = 12; // rows asked for beyond those in sight, above and below
const TYPING = 150; // ms without a key before the filter is sent
const LOST = 3000; // ms after which an answer is no longer waited for
const AGES = 60000; // ms after which "5 min ago" is told anew

const EMPTY = {
  generation: 0, revision: -1, first: 0, rows: [], shown: 0, total: 0, filter: "", sort: null,
  unseen: [],
  current: null, at: null, every: "false", counts: [], nothing: "", problem: "",
};

function make(tag, name, attributes = {}, children = []) {
  const made = document.createElement(tag);
  made.className = name;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setAttribute(element, name, value) {
  if (value === null || value === "") element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function cellClass(head) {
  return `tt-cell tt-${head.kind}${head.under ? " tt-under" : ""}`;
}

class Table {
  constructor(model, el) {
    this.model = model;
    this.view = `tt-${Math.random().toString(36).slice(2)}`;
    this.heads = model.get("heads");
    this.lines = model.get("lines");
    this.page = EMPTY;
    this.asked = 0; // when; 0: nothing is on its way
    this.typing = 0; // the timer that will send the filter
    this.build(el);
    this.listen();
    this.say("look");
  }

  // --- what is on screen ------------------------------------------------------------

  build(el) {
    this.filter = make("input", "tt-filter", {
      type: "search", placeholder: "Filter: every word must match", "aria-label": "Filter",
    });
    this.every = make("button", "tt-every", {
      role: "checkbox", "aria-label": "Select all shown rows", "aria-checked": "false",
    }, [make("span", "tt-box")]);
    this.sorts = this.heads.map((head) =>
      make("div", cellClass(head), { role: "columnheader", title: head.title }, [
        make("button", "tt-sort", { "data-column": head.name }, [make("span", "", {}, [head.title])]),
      ]));
    this.seen = this.heads.map((head) =>
      make("button", "tt-see", { role: "checkbox", "data-column": head.name },
        [make("span", "tt-box"), head.title]));
    const columns = make("details", "tt-columns", {}, [
      make("summary", "", {}, ["Columns"]),
      make("div", "", { role: "group", "aria-label": "Columns" }, this.seen),
    ]);
    const corner = make("div", "tt-check", { role: "columnheader" }, [this.every]);
    const top = make("div", "tt-row tt-head", { role: "row", "aria-rowindex": 1 },
      [corner, ...this.sorts]);
    this.nothing = make("div", "tt-nothing");
    this.body = make("div", "tt-body", { role: "rowgroup" }, [this.nothing]);
    this.grid = make("div", "tt-grid", {
      role: "grid", tabindex: 0, "aria-label": this.model.get("label"),
      "aria-multiselectable": true, "aria-colcount": this.heads.length + 1,
    }, [make("div", "tt-top", { role: "rowgroup" }, [top]), this.body]);
    this.counts = make("div", "tt-counts", { role: "status" });
    this.all = make("button", "");
    this.none = make("button", "", {}, ["Select none"]);
    this.problem = make("div", "tt-problem", { role: "alert" });
    this.root = make("div", "tasktools-table", {}, [
      make("div", "tt-bar", {}, [this.filter, columns]),
      this.grid,
      make("div", "tt-foot", {}, [this.counts, this.all, this.none, this.problem]),
    ]);
    for (const part of this.root.querySelectorAll("button, input, summary, [tabindex]")) {
      part.dataset.lmSuppressShortcuts = ""; // JupyterLab would take "d d" for "delete this cell"
    }
    this.draw();
    el.append(this.root);
  }

  setWidths() {
    const seen = this.heads.filter((head) => !this.page.unseen.includes(head.name));
    const beside = seen.filter((head) => !head.under);
    const widths = beside.map((head) =>
      head.grow ? `minmax(${head.width}px, 1fr)` : `${head.width}px`);
    const least = beside.reduce((sum, head) => sum + head.width, CHECK);
    this.line = LINE + (beside.length < seen.length ? UNDER : 0);
    this.root.style.setProperty("--tt-columns", `${CHECK}px ${widths.join(" ")}`);
    this.root.style.setProperty("--tt-row", `${this.line}px`);
    for (const part of this.grid.children) part.style.minWidth = `${least}px`;
    this.heads.forEach((head, i) => {
      const unseen = !seen.includes(head);
      this.sorts[i].hidden = unseen || head.under;
      setAttribute(this.seen[i], "aria-checked", !unseen);
    });
  }

  draw() {
    const { page } = this;
    this.setWidths();
    // As high as all rows need, whatever the filter leaves: nothing below moves while one types.
    const lines = Math.min(this.lines, Math.max(page.total, FEWEST));
    const scrollbar = this.grid.offsetHeight - this.grid.clientHeight;
    this.grid.style.height = `${lines * this.line + LINE + scrollbar}px`;
    this.body.style.height = `${Math.max(page.shown, 1) * this.line}px`;
    this.drawRows();
    this.heads.forEach((head, i) => {
      const sorted = page.sort?.column === head.name;
      const way = page.sort?.descending ? "descending" : "ascending";
      setAttribute(this.sorts[i], "aria-sort", sorted ? way : null);
    });
    setAttribute(this.grid, "aria-rowcount", page.shown + 1);
    setAttribute(this.every, "aria-checked", page.every);
    setText(this.nothing, page.nothing);
    this.nothing.hidden = !page.nothing;
    setAttribute(this.body, "role", page.nothing ? "presentation" : "rowgroup"); // which has rows
    this.drawFoot();
    if (document.activeElement !== this.filter) this.filter.value = page.filter;
  }

  drawRows() {
    const { first, rows, current, unseen } = this.page;
    const drawn = this.body.children; // the first is `nothing`
    while (drawn.length > rows.length + 1) drawn[drawn.length - 1].remove();
    while (drawn.length < rows.length + 1) this.body.append(this.makeRow(drawn.length));
    rows.forEach(([key, selected, cells], i) => {
      const row = drawn[i + 1];
      row.dataset.key = key;
      row.style.top = `${(first + i) * this.line}px`;
      row.classList.toggle("tt-current", key === current);
      setAttribute(row, "aria-rowindex", first + i + 2);
      setAttribute(row, "aria-selected", selected);
      cells.forEach(([text, title], j) => {
        const drawnCell = row.children[j + 1];
        setText(drawnCell, text);
        setAttribute(drawnCell, "title", title || text);
        drawnCell.hidden = unseen.includes(this.heads[j].name);
      });
    });
    const at = rows.findIndex(([key]) => key === current);
    setAttribute(this.grid, "aria-activedescendant", at < 0 ? null : drawn[at + 1].id);
  }

  makeRow(number) {
    const cells = this.heads.map((head) =>
      make("div", cellClass(head), { role: "gridcell" }));
    const check = make("div", "tt-check", { role: "gridcell" }, [make("span", "tt-box")]);
    return make("div", "tt-row", { role: "row", id: `${this.view}-${number}` }, [check, ...cells]);
  }

  drawFoot() {
    const { counts, shown, every, problem } = this.page;
    this.counts.replaceChildren(...counts.map(([text, tone]) =>
      make("span", `tt-${tone || "count-of"}`, {}, [text])));
    setText(this.all, `Select all ${shown.toLocaleString("en")}`);
    this.all.disabled = !shown || every === "true";
    this.none.disabled = counts.length < 2;
    setText(this.problem, problem);
    this.problem.hidden = !problem;
  }

  // --- asking, and the answers ------------------------------------------------------

  inSight() {
    const first = Math.floor(this.grid.scrollTop / this.line);
    return [first, Math.min(first + this.lines + 1, this.page.shown)];
  }

  say(what, more = {}) {
    if (this.typing && what !== "filter") this.sendFilter(); // what was typed comes before
    const [first] = this.inSight();
    this.asked = Date.now();
    this.model.send({
      view: this.view, do: what, generation: this.page.generation,
      first: Math.max(0, first - AHEAD), last: first + this.lines + AHEAD, ...more,
    });
  }

  sendFilter = () => {
    clearTimeout(this.typing);
    this.typing = 0;
    this.sayFromTheTop("filter", { text: this.filter.value });
  };

  sayFromTheTop(what, more) {
    this.say(what, { ...more, first: 0, last: this.lines + AHEAD });
  }

  // Ask for the rows in sight, if there are others or newer ones than those drawn.
  lookIfNeeded = () => {
    if (Date.now() - this.asked < LOST) return; // the answer comes here again
    const { page } = this, [first, last] = this.inSight();
    const drawn = page.first <= first && last <= page.first + page.rows.length;
    if (!drawn || page.revision < this.model.get("revision")) this.say("look");
  };

  // More often than once a frame would be in vain; what is on its way comes first.
  look = () => {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(this.lookIfNeeded);
  };

  receive = (page) => {
    if (page.view !== this.view) return;
    this.asked = 0;
    if (page.revision >= this.page.revision) { // an older one came late
      this.page = page;
      this.draw();
      if (page.answers === "sort" || page.answers === "filter") this.grid.scrollTop = 0;
      if (page.answers === "move") this.reveal(page.at);
    }
    this.look();
  };

  reveal(at) {
    if (at === null) return;
    const top = at * this.line, bottom = top + this.line;
    const height = this.grid.clientHeight - LINE; // below the heading
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (bottom > this.grid.scrollTop + height) this.grid.scrollTop = bottom - height;
  }

  // --- what is clicked and typed ----------------------------------------------------

  listen() {
    this.model.on("msg:custom", this.receive);
    this.model.on("change:revision", this.look);
    this.timer = setInterval(() => document.hidden || this.say("look"), AGES);
    this.grid.addEventListener("scroll", this.look, { passive: true });
    this.grid.addEventListener("keydown", this.press);
    this.body.addEventListener("mousedown", this.touch);
    this.body.addEventListener("click", this.click);
    this.every.addEventListener("click", () => this.say("toggle_all"));
    this.all.addEventListener("click", () => this.say("select_all"));
    this.none.addEventListener("click", () => this.say("select_none"));
    for (const sort of this.sorts) {
      const { column } = sort.firstChild.dataset;
      sort.addEventListener("click", () => this.sayFromTheTop("sort", { column }));
    }
    for (const box of this.seen) box.addEventListener("click", this.see);
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(this.sendFilter, TYPING);
    });
  }

  see = (event) => {
    const { column } = event.currentTarget.dataset, { unseen } = this.page;
    const others = unseen.filter((name) => name !== column);
    this.say("see", { unseen: others.length < unseen.length ? others : [...unseen, column] });
  };

  touch = (event) => {
    this.touched = event.target.closest(".tt-row")?.dataset.key;
    if (!event.shiftKey) return;
    event.preventDefault(); // rows are selected, not their text
    this.grid.focus({ preventScroll: true });
  };

  click = (event) => {
    const key = event.target.closest(".tt-row")?.dataset.key;
    if (key === undefined || key !== this.touched) return; // drawn anew under the pointer
    const toggles = event.ctrlKey || event.metaKey || event.target.closest(".tt-check");
    this.say(event.shiftKey ? "extend" : toggles ? "toggle" : "open", { key });
  };

  press = (event) => {
    if (event.target !== this.grid || event.altKey) return;
    const screen = this.lines - 1, far = 1e9;
    const by = {
      ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen, Home: -far, End: far,
    }[event.key];
    if (by !== undefined) this.say("move", { by, extend: event.shiftKey });
    else if (event.key === " ") this.say("toggle_current");
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.say("select_all");
    else return;
    event.preventDefault();
  };

  close() {
    this.model.off("msg:custom", this.receive);
    this.model.off("change:revision", this.look);
    clearInterval(this.timer);
    clearTimeout(this.typing);
    cancelAnimationFrame(this.frame);
  }
}

export default {
  render({ model, el }) {
    const table = new Table(model, el);
    return () => table.close();
  },
};
