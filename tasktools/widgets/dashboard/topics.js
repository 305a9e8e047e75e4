// The table of topics: their numbers of this moment, and a menu on each. Topics at 0 are folded.
const TOPIC_COLUMNS = [ // those of the rows that the kernel sends, but for the capacity
  { title: "Queued", row: 0, unit: "count", how: "messages that wait in the queue" },
  { title: "Running", row: 1, unit: "rate", how: "running tasks, of the places that workers have for them" },
  { title: "Ended/s", row: 3, unit: "rate", how: "tasks that ended per second, in the last 10 s at least" },
  { title: "Oldest", row: 4, unit: "span", how: "age of the oldest running task" },
  { title: "Failures/min", row: 5, unit: "count", how: "tasks that failed in the last minute; nothing before it is full" },
  { title: "Dead letters", row: 6, unit: "count", how: "messages in the dead-letter queue" },
  { title: "Consumers", row: 7, unit: "count", how: "consumers of the queue, as the server counts them" },
];
const NOW_ROWS = { queued: 0, throughput: 3, oldest: 4, failures: 5, dead_letters: 6 };
const RUNNING_ROW = 1, CAPACITY_ROW = 2, FAILURES_ROW = 5, ZERO_ROWS = [0, 1, 3, 6], FEW_ROWS = 10, SEVERITIES = ["critical", "warning", "suspect"];
const ACTIONS = [["tasks", "Running tasks"], ["dead letters", "Dead letters"], ["publish", "Publish a task"], ["findings", "Findings"]];

class TopicTable {
  constructor(board) {
    Object.assign(this, { board, names: [], unlisted: 0, values: [], rows: [], at: 0, isOpen: false, opener: null });
    const heads = TOPIC_COLUMNS.map(({ title, how }) => tag("th", "", { scope: "col", title: how, "data-picture": "" }, [title]));
    this.body = tag("tbody");
    this.fold = tag("button", "tb-zeros", { type: "button", "data-picture": "" });
    this.fold.addEventListener("click", () => { this.isOpen = !this.isOpen; this.draw(); });
    this.menu = tag("div", "tb-menu", { role: "menu", popover: "auto" }, ACTIONS.map(([action, title]) => {
      const item = tag("button", "tb-item", { type: "button", role: "menuitem", tabindex: -1, "data-action": action }, [title]);
      item.addEventListener("click", () => this.choose(item));
      return item;
    }));
    this.element = tag("section", "tb-chart tb-topics", { "aria-label": "Topics" }, [
      tag("table", "", { "aria-label": "Topics" }, [
        tag("thead", "", {}, [tag("tr", "", {}, [tag("th", "", { scope: "col", "data-picture": "" }, ["Topic"]), ...heads, tag("td")])]),
        this.body,
      ]),
      this.fold, this.menu,
    ]);
    this.body.addEventListener("keydown", (event) => this.move(event));
    this.menu.addEventListener("keydown", (event) => this.moveInMenu(event));
    this.menu.addEventListener("toggle", ({ newState }) => this.toggled(newState === "open"));
  }

  setNames(names, unlisted) {
    Object.assign(this, { names, unlisted, values: [] });
    this.rows = names.map((name) => this.makeRow(name));
    this.body.replaceChildren();
  }

  makeRow(name) {
    const flag = tag("span", "tb-flag", { "data-picture": "", "aria-hidden": "true" }, ["▲"]);
    const label = tag("span", "tb-name", {}, [name]), cells = TOPIC_COLUMNS.map(() => tag("td", "", { "data-picture": "" }));
    const button = tag("button", "tb-more", { type: "button", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": `Menu of ${name}`, tabindex: -1 }, ["⋯"]);
    const element = tag("tr", "", {}, [tag("th", "", { scope: "row" }, [flag, label]), ...cells, tag("td", "", {}, [button])]);
    button.addEventListener("click", () => this.openMenu(name, button));
    button.addEventListener("focus", () => this.enter(this.shown.indexOf(name)));
    return { element, flag, label, cells, button };
  }

  take(values) { // row by row, as they are now
    const count = this.names.length;
    this.values = this.names.map((_name, i) => Array.from({ length: 8 }, (_v, row) => values[row * count + i]));
  }

  // --- what is shown ----------------------------------------------------------------

  has(name) { return this.values.length > 0 && this.names.includes(name); }

  now(name, chart) { // what the chart called so shows of a listed topic, at this moment; null: not known
    const values = this.values[this.names.indexOf(name)];
    const value = chart === "utilisation" ? values[RUNNING_ROW] / values[CAPACITY_ROW] : values[NOW_ROWS[chart]];
    return Number.isNaN(value) ? null : value;
  }

  mark(name) {
    const { marks } = this.board.shown;
    return Object.hasOwn(marks, name) ? marks[name] : null;
  }

  // What is not known is not 0, and a topic with a finding is not folded.
  isZero(i) {
    const values = this.values[i];
    return !this.mark(this.names[i]) && ZERO_ROWS.every((row) => values[row] === 0) && !(values[FAILURES_ROW] > 0);
  }

  draw() {
    if (!this.values.length) return;
    const rank = (name) => { const found = this.mark(name); return found ? SEVERITIES.indexOf(found[0]) : 9; };
    const zeros = new Set(this.names.filter((_name, i) => this.isZero(i)));
    if (zeros.size < 2) zeros.clear(); // a single one is not worth a fold
    const place = new Map(this.names.map((name, i) => [name, i])), messages = (name) => this.values[place.get(name)][0] + this.values[place.get(name)][6] || 0;
    const busy = this.names.filter((name) => !zeros.has(name));
    const few = busy.length > FEW_ROWS ? new Set([...busy].sort((a, b) => rank(a) - rank(b) || messages(b) - messages(a)).slice(0, FEW_ROWS)) : new Set(busy);
    const inOrder = (names) => names.sort((a, b) => rank(a) - rank(b) || place.get(a) - place.get(b));
    this.shown = inOrder(this.isOpen ? [...this.names] : busy.filter((name) => few.has(name)));
    const elements = this.shown.map((name) => this.rows[place.get(name)].element);
    if (elements.length !== this.body.children.length || elements.some((row, i) => row !== this.body.children[i])) this.arrange(elements);
    this.shown.forEach((name) => this.drawRow(name, this.rows[place.get(name)], this.values[place.get(name)]));
    this.enter(Math.min(this.at, this.shown.length - 1));
    const more = busy.length - few.size, words = [more ? `${more} more` : "", zeros.size ? `${zeros.size} at 0` : ""];
    this.fold.hidden = !more && !zeros.size;
    this.fold.title = "at 0: nothing is queued, running, ended or dead";
    this.fold.setAttribute("aria-expanded", String(this.isOpen));
    const rest = this.unlisted ? ` · ${this.unlisted} with fewer messages are not listed` : "";
    say(this.fold, `${this.isOpen ? "▴" : "▾"} ${words.filter(Boolean).join(", ")}${rest}`);
  }

  arrange(elements) { // the focus stays in a row that is only moved
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    this.body.replaceChildren(...elements);
    focused?.focus({ preventScroll: true });
  }

  drawRow(name, { element, flag, cells, label }, values) {
    const found = this.mark(name);
    flag.hidden = !found;
    flag.dataset.severity = found?.[0] ?? "";
    element.title = found ? `${found[0]}: ${found[1]}` : "";
    label.title = name;
    TOPIC_COLUMNS.forEach(({ row, unit }, i) => {
      const known = Number.isNaN(values[row]) ? null : values[row];
      say(cells[i], row === 1 && known !== null ? `${whole(known)} of ${whole(values[CAPACITY_ROW])}` : valueText(known, unit));
    });
  }

  // --- the keyboard: one row can be reached by Tab, the others from it by arrows --------

  enter(at) {
    this.at = Math.max(at, 0);
    const reached = this.shown?.[this.at];
    this.names.forEach((name, i) => { this.rows[i].button.tabIndex = name === reached ? 0 : -1; });
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.enter(Math.min(Math.max(this.at + step, 0), this.shown.length - 1));
    this.rows[this.names.indexOf(this.shown[this.at])].button.focus();
  }

  openMenu(name, button) {
    const { refusals } = this.board.model.get("head"), found = this.mark(name);
    const reasons = { ...refusals, findings: found ? "" : "no finding is about this topic" };
    for (const item of this.menu.children) {
      const reason = reasons[item.dataset.action] ?? "";
      item.setAttribute("aria-disabled", String(Boolean(reason)));
      item.title = reason;
    }
    Object.assign(this, { opener: button, topic: name });
    this.menu.setAttribute("aria-label", `Menu of ${name}`);
    this.menu.showPopover();
    const at = button.getBoundingClientRect(), { width, height } = this.menu.getBoundingClientRect();
    const top = at.bottom + height < innerHeight ? at.bottom : Math.max(at.top - height, 0);
    Object.assign(this.menu.style, { left: `${Math.max(at.right - width, 0)}px`, top: `${top}px` });
    this.menu.firstElementChild.focus();
  }

  toggled(isOpen) {
    this.opener?.setAttribute("aria-expanded", String(isOpen));
  }

  moveInMenu(event) {
    const items = [...this.menu.children], at = items.indexOf(document.activeElement), last = items.length - 1;
    const to = { ArrowDown: at === last ? 0 : at + 1, ArrowUp: at > 0 ? at - 1 : last, Home: 0, End: last }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      event.stopPropagation();
      this.close();
    } else if (to !== undefined) items[to].focus();
    else return;
    event.preventDefault();
  }

  choose(item) {
    if (item.getAttribute("aria-disabled") === "true") return;
    this.close();
    this.board.open(item.dataset.action, this.topic);
  }

  close() {
    this.menu.hidePopover();
    this.opener?.focus({ preventScroll: true });
  }
}
