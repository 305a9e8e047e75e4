// The board: what the kernel sends, and what is drawn of it. It knows no rule about clusters.
// A page of JupyterLab holds some 1.3 MB for good of each picture that it was given: they are seldom.
const PICTURE_EVERY = 300000, LOST = 2000;

class Board {
  constructor(model, el) {
    Object.assign(this, {
      model, every: model.get("head").every, x: [], gap: [], rows: [], first: 0, generation: null, window: 3600, length: 10,
      edge: 0, newest: null, heard: 0, colors: null, zoomed: null, pointed: null, isPointing: false,
      hidden: new Set(), forecast: model.get("forecast"), isCutOff: false, frame: 0, asked: 0, isSeen: true, isNews: false,
    });
    const head = model.get("head");
    this.charts = head.charts.map((spec) => new LineChart(this, spec, head.thresholds[spec.name]));
    this.workers = new WorkerMap(this);
    this.topics = new TopicTable(this);
    this.build(head);
    el.append(this.root);
    this.show();
    this.listen();
    this.hello();
  }

  build(head) {
    this.window_ = tag("select", "", { "aria-label": "Window" }, head.windows.map((name) =>
      tag("option", "", { value: name }, [`last ${name}`])));
    this.filter = tag("input", "", { type: "search", placeholder: "/ topic contains …", "aria-label": "Topics", title: "key /" });
    this.pause = tag("button", "tb-button", { type: "button" }, ["Pause"]);
    this.png = tag("button", "tb-button", { type: "button", title: "save the board as a picture" }, ["PNG"]);
    this.csv = tag("button", "tb-button", { type: "button", title: "save the values of the charts as a table" }, ["CSV"]);
    this.unzoom = tag("button", "tb-button tb-zoomed", { type: "button" });
    this.picture = tag("canvas", "");
    this.tiles = tag("div", "tb-tiles");
    this.finding = tag("button", "tb-tile tb-finding", { type: "button", "data-tile": "findings" },
      ["title", "text", "note"].map((name) => tag("span", `tb-tile-${name}`, { "data-picture": "" })));
    this.finding.append(tag("span", "tb-fold", { "aria-hidden": "true" }));
    this.age = tag("span", ""); // it changes all the time: no reader is told
    this.remarks = tag("span", "", { role: "status" });
    this.status = tag("div", "tb-status", { "data-picture": "" }, [this.age, this.remarks]);
    this.voice = tag("div", "tb-voice", { "aria-live": "polite" });
    this.problem = tag("div", "tb-problem", { role: "alert" });
    const demo = head.demo ? [tag("span", "tb-demo", { "data-picture": "" }, ["DEMO"])] : [];
    this.root = tag("div", "tasktools-board", {}, [
      tag("div", "tb-bar", {}, [
        ...demo, tag("span", "tb-address", { "data-picture": "" }, [head.address]), this.status,
        this.unzoom, this.window_, this.filter, this.pause, this.png, this.csv,
      ]),
      this.problem,
      this.finding,
      this.tiles,
      this.topics.element,
      tag("div", "tb-charts", {}, this.charts.map((chart) => chart.element)),
      this.workers.element,
      this.voice,
    ]);
  }

  // --- from the kernel --------------------------------------------------------------

  hello() {
    if (Date.now() - this.asked < LOST) return; // the answer is on its way
    this.asked = Date.now();
    this.ask("hello");
  }

  receive = (message, buffers) => {
    if (message.do === "all") this.begin(message);
    const at = message.first - this.first;
    if (message.generation !== this.generation || at > this.x.length || at < 0) return this.hello();
    this.take(message, at, buffers);
    const isFirst = this.newest === null;
    Object.assign(this, { edge: message.edge, newest: message.newest, now: message.now, heard: Date.now() });
    this.workers.none = message.no_workers;
    this.forget();
    this.isNews = true;
    this.drawSoon();
    if (isFirst) this.pictureSoon(1500);
    return undefined;
  };

  begin({ generation, first, lines, listed, unlisted, workers, window, length }) {
    Object.assign(this, { generation, first, window, length, x: [], gap: [], asked: 0 });
    this.charts.forEach((chart) => chart.setLines(lines[chart.spec.name]));
    this.workers.setNames(workers);
    this.topics.setNames(listed, unlisted);
    this.workers.columns = [];
    this.rows = this.charts.flatMap((chart) => chart.lines.map(() => []));
    let next = 0;
    this.charts.forEach((chart) => {
      chart.setRows(this.rows.slice(next, next + chart.lines.length));
      next += chart.lines.length;
    });
  }

  // From column *at* on, all is new: the last one was not full yet.
  take({ count }, at, [lines, workers, topics]) {
    this.topics.take(new Float64Array(bytes(topics)));
    const values = new Float64Array(bytes(lines)), loads = new Float32Array(bytes(workers));
    const all = [this.x, this.gap, ...this.rows];
    all.forEach((row, r) => {
      row.length = at;
      for (let i = 0; i < count; i += 1) {
        const value = values[r * count + i];
        row.push(Number.isNaN(value) ? null : value);
      }
    });
    this.workers.columns.length = at;
    for (let i = 0; i < count; i += 1) {
      const column = new Float32Array(3 * this.workers.names.length);
      column.forEach((_v, n) => { column[n] = loads[n * count + i]; });
      this.workers.columns.push(column);
    }
  }

  forget() {
    const old = this.x.findIndex((at) => at >= this.edge - this.window - this.length);
    if (old <= 0) return;
    for (const row of [this.x, this.gap, ...this.rows, this.workers.columns]) row.splice(0, old);
    this.first += old;
  }

  show = () => {
    const shown = this.model.get("shown");
    this.shown = shown;
    this.hidden = new Set(shown.hidden);
    this.window_.value = shown.window;
    if (document.activeElement !== this.filter) this.filter.value = shown.filter;
    say(this.pause, shown.paused ? "Resume" : "Pause");
    this.root.classList.toggle("tb-paused", shown.paused);
    say(this.problem, shown.problem);
    this.problem.hidden = !shown.problem;
    this.showTiles(shown.tiles);
    this.showFinding(shown);
    this.tell();
    this.drawSoon();
  };

  foretell = () => {
    this.forecast = this.model.get("forecast");
    this.drawSoon();
  };

  showTiles(tiles) {
    while (this.tiles.children.length < tiles.length) {
      this.tiles.append(tag("div", "tb-tile", {}, ["title", "text", "note"].map((name) =>
        tag("div", `tb-tile-${name}`, { "data-picture": "" }))));
    }
    tiles.forEach(({ name, title, text, note, alarm }, i) => {
      const tile = this.tiles.children[i];
      tile.dataset.tile = name;
      tile.classList.toggle("tb-alarm", Boolean(alarm));
      tile.title = alarm || note;
      [title, text, alarm || note].forEach((words, part) => say(tile.children[part], words));
    });
  }

  showFinding({ finding, investigating }) {
    const { title, text, note, alarm, severity } = finding;
    this.finding.dataset.severity = severity;
    this.finding.title = text;
    this.finding.setAttribute("aria-expanded", String(investigating));
    [title, text, alarm || note, investigating ? "▴ close" : "▾ open"].forEach((words, part) =>
      say(this.finding.children[part], words));
    this.charts.forEach((chart) => chart.showMarks());
  }

  // Without a topic: open the incident below the board, or close it.
  investigate(topic = "") {
    const opens = topic || !this.shown.investigating;
    this.ask("investigate", { topic });
    this.reveal(opens && ".tt-investigated", 100);
  }

  // What belongs to a topic, below the board.
  open(part, topic) {
    if (part === "findings") return this.investigate(topic);
    this.ask("open", { part, topic });
    return this.reveal(".tt-opened", 40);
  }

  reveal(selector, height) {
    const below = selector && this.root.closest(".tasktools-dashboard")?.querySelector(selector);
    this.below?.disconnect();
    if (!below) return;
    this.below = new ResizeObserver(() => { // it comes later, and out of sight
      if (below.clientHeight < height) return;
      this.below.disconnect();
      below.scrollIntoView();
    });
    this.below.observe(below);
  }

  // How old the newest point is goes on by itself.
  tell = () => {
    if (this.newest === null) return say(this.remarks, this.shown.status.join(" · ") || "reading …");
    const silence = (Date.now() - this.heard) / 1000, age = Math.max(this.now - this.newest + silence, 0);
    const isSilent = this.isCutOff || (silence > Math.max(10, 5 * this.every) && !this.shown.paused);
    const trouble = isSilent ? ["the kernel says nothing: it is busy, or gone"] : [];
    const words = this.shown.ended ? `newest point ${dateText(this.newest)}` : `newest point ${spanText(age)} old`;
    this.status.dataset.picture = [dateText(this.newest), ...this.shown.status].join(" · ");
    this.status.dataset.age = age.toFixed(2);
    this.status.dataset.newest = this.newest;
    say(this.age, words);
    return say(this.remarks, ["", ...trouble, ...this.shown.status].join(" · "));
  };

  // --- drawing ----------------------------------------------------------------------

  drawSoon = () => {
    if (!this.frame && !document.hidden && this.isSeen) this.frame = requestAnimationFrame(this.draw);
  };

  draw = () => {
    this.frame = 0;
    if (this.newest === null || !this.root.isConnected) return;
    // What is not remembered takes no room.
    const begin = Math.max(this.edge - this.window, Math.min(this.x[0], this.edge - 30));
    const range = this.zoomed ?? [begin, this.edge];
    this.range = range;
    if (!this.colors) this.restyle();
    this.topics.draw();
    this.charts.forEach((chart) => chart.draw(range));
    this.workers.draw(range);
    this.tell();
    this.root.dataset.drawn = Number(this.root.dataset.drawn ?? 0) + 1;
  };

  rethink = () => {
    this.colors = null;
    this.drawSoon();
  };

  restyle() {
    const style = getComputedStyle(this.root), get = (name) => style.getPropertyValue(name).trim();
    this.dark = isDark(this.root);
    this.family = style.fontFamily;
    this.font = `11px ${this.family}`;
    this.colors = {
      ink: style.color, paper: style.backgroundColor, quiet: get("--tb-quiet"), alarm: get("--tb-alarm"),
      warn: get("--tb-warn"), grid: this.dark ? "#ffffff1c" : "#00000014", gap: this.dark ? "#ffffff1a" : "#00000012",
    };
    this.inks = inks(this.dark, this.colors);
    this.charts.forEach((chart) => chart.restyle());
  }

  // --- pointing, zooming, asking ----------------------------------------------------

  place() { // of the column that is pointed at, or the newest one
    return this.pointed === null ? this.x.length - 1 : nearest(this.x, this.pointed);
  }

  pointedText() {
    return this.gap[this.place()] ? "nothing recorded" : `${timeText(this.pointed)} UTC`;
  }

  point(chart, plot) { // the pointer is over a chart
    if (this.isPointing) return;
    const { left, idx } = plot.cursor;
    this.pointAt(left < 0 || idx === null || idx === undefined ? null : this.x[idx]);
  }

  pointAt(time) {
    this.pointed = time;
    this.isPointing = true; // what follows is not the pointer's doing
    for (const chart of this.charts) {
      chart.point(time === null || !chart.plot ? null : chart.plot.valToPos(time, "x"));
    }
    this.isPointing = false;
    this.workers.point();
  }

  // By keyboard, in a chart: the moment that is pointed at, and how much time is shown.
  steer(event, chart) {
    const last = this.x.length - 1, [from, to] = this.range ?? [0, 0], at = this.place();
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last };
    const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (factor) {
      const middle = this.x[at], half = ((to - from) * factor) / 2, begin = Math.max(middle - half, this.x[0]);
      const end = Math.min(middle + half, this.edge);
      this.zoom(begin <= this.x[0] && end >= this.edge ? null : [begin, end]);
    } else if (event.key in steps) {
      const next = at + steps[event.key] * (event.shiftKey ? 10 : 1);
      this.pointAt(this.x[Math.min(Math.max(next, 0), last)]);
      say(this.voice, chart.inWords());
    } else return;
    event.preventDefault();
  }

  // Everywhere on the board: / goes to the filter, Esc takes back what was chosen last.
  key = (event) => {
    const isTyping = event.target.matches("input, select");
    if (event.key === "/" && !isTyping) this.filter.focus();
    else if (event.key === "Escape" && event.target === this.filter && this.filter.value) {
      this.filter.value = "";
      this.ask("filter", { to: "" });
    } else if (event.key === "Escape" && this.pointed !== null) this.pointAt(null);
    else if (event.key === "Escape" && this.zoomed) this.zoom(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  zoom(range) {
    this.zoomed = range;
    this.unzoom.hidden = !range;
    if (range) say(this.unzoom, `⤢ zoomed to ${range.map((t) => timeText(t)).join(" – ")} · show all`);
    this.drawSoon();
  }

  ask(what, more = {}, buffers = []) {
    try {
      this.model.send({ do: what, ...more }, undefined, buffers);
    } catch { // the page has lost its kernel
      this.isCutOff = true;
      this.tell();
    }
  }

  listen() {
    this.model.on("msg:custom", this.receive);
    this.model.on("change:shown", this.show);
    this.model.on("change:forecast", this.foretell);
    this.zoom(null);
    this.unzoom.addEventListener("click", () => this.zoom(null));
    this.window_.addEventListener("change", () => this.ask("window", { to: this.window_.value }));
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.ask("filter", { to: this.filter.value }), 250);
    });
    this.finding.addEventListener("click", () => this.investigate());
    this.root.addEventListener("keydown", this.key);
    this.png.addEventListener("click", () => this.newest === null || drawPicture(this).toBlob((blob) => saveFile(blob, this, "png")));
    this.csv.addEventListener("click", () =>
      this.newest === null || saveFile(new Blob([valuesAsCsv(this)], { type: "text/csv" }), this, "csv"));
    this.pause.addEventListener("click", () => {
      this.ask("pause", { to: !this.shown.paused });
      this.pictureSoon(100);
    });
    this.timers = [setInterval(this.tell, 500), setInterval(() => this.isNews && this.sendPicture(), PICTURE_EVERY)];
    this.theme = new MutationObserver(() => setTimeout(this.rethink, 300)); // its sheets come later
    this.theme.observe(document.body, { attributeFilter: ["data-jp-theme-name", "data-jp-theme-light"] });
    this.seen = new IntersectionObserver(([{ isIntersecting }]) => {
      this.isSeen = isIntersecting;
      this.drawSoon();
    });
    this.seen.observe(this.root);
    document.addEventListener("visibilitychange", this.turn);
    document.addEventListener("keydown", this.press, { capture: true });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.rethink);
  }

  turn = () => (document.hidden ? this.sendPicture() : this.drawSoon());

  press = (event) => {
    if (event.key === "s" && (event.ctrlKey || event.metaKey)) this.sendPicture();
  };

  pictureSoon(delay) {
    clearTimeout(this.drawing);
    this.drawing = setTimeout(() => this.sendPicture(), delay);
  }

  sendPicture() {
    if (this.newest === null || !this.root.clientWidth) return;
    this.isNews = false;
    drawPicture(this).toBlob(async (blob) => {
      if (blob) this.ask("picture", {}, [await blob.arrayBuffer()]);
    });
  }

  close() {
    this.model.off("msg:custom", this.receive);
    this.model.off("change:shown", this.show);
    this.model.off("change:forecast", this.foretell);
    this.timers.forEach(clearInterval);
    clearTimeout(this.typing);
    clearTimeout(this.drawing);
    cancelAnimationFrame(this.frame);
    this.theme.disconnect();
    this.seen.disconnect();
    this.below?.disconnect();
    document.removeEventListener("visibilitychange", this.turn);
    document.removeEventListener("keydown", this.press, { capture: true });
    matchMedia("(prefers-color-scheme: dark)").removeEventListener("change", this.rethink);
    this.charts.forEach((chart) => chart.close());
    this.workers.close();
  }
}

function bytes(view) { // a copy: it may lie anywhere in a message
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}

// Colours as pixels: from idle to busy, and those of workers that are not well.
function inks(dark, colors) {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const pixel = (color) => {
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return new Uint32Array(pen.getImageData(0, 0, 1, 1).data.buffer)[0];
  };
  const [idle, busy] = dark ? [[32, 42, 52], [116, 200, 255]] : [[226, 236, 245], [3, 72, 130]];
  const ramp = Array.from({ length: 256 }, (_v, n) =>
    pixel(`rgb(${idle.map((from, i) => Math.round(from + ((busy[i] - from) * n) / 255)).join()})`));
  return { ramp, late: pixel(colors.warn), gone: pixel(colors.alarm), paper: pixel(colors.paper) };
}

export default {
  render({ model, el }) {
    const board = new Board(model, el);
    return () => board.close();
  },
};
