// The map of workers: a row each, over time; the darker, the busier. Workers that are late are
// hatched, those that are gone are crossed out, and both are named at the right.
const STATES = ["alive", "late", "gone", "stopped"];
const NAMES_WIDTH = 170, WORDS_WIDTH = 62, AXIS = 20, TOP = 6, FEWEST_PIXELS = 2, MOST_PIXELS = 16, TALLEST = 480;

class WorkerMap {
  constructor(board) {
    Object.assign(this, { board, none: "", names: [], order: [], columns: [], byLoad: false, at: null });
    this.says = tag("span", "tb-time");
    this.sort = tag("button", "tb-button", { type: "button" }, ["Sort by utilisation"]);
    this.sort.addEventListener("click", () => this.resort());
    this.canvas = tag("canvas", "tb-map", { role: "img" });
    this.cells = tag("canvas", "");
    this.image = null;
    this.pointer = tag("div", "tb-pointer");
    this.area = tag("div", "tb-plot", {}, [this.canvas, this.pointer]);
    this.element = tag("section", "tb-chart tb-workers", { "aria-label": "Workers" }, [
      tag("h3", "", {}, ["Utilisation by worker", this.says, this.sort]),
      this.area,
    ]);
    this.canvas.addEventListener("mousemove", (event) => this.move(event));
    this.canvas.addEventListener("mouseleave", () => { this.at = null; board.pointAt(null); });
    this.sizes = new ResizeObserver(() => board.drawSoon());
    this.sizes.observe(this.area);
  }

  setNames(names) {
    this.names = names;
    this.order = names.map((_name, i) => i);
  }

  resort() {
    this.byLoad = !this.byLoad;
    say(this.sort, this.byLoad ? "Sort by name" : "Sort by utilisation");
    this.board.drawSoon();
  }

  // Running, capacity and state of worker *w* at column *i*; NaN where nothing is known.
  cell(w, i) {
    const column = this.columns[i], count = this.names.length;
    return column ? [column[w], column[count + w], column[2 * count + w]] : [NaN, NaN, NaN];
  }

  load(w, i) {
    const [running, capacity] = this.cell(w, i);
    return capacity > 0 ? running / capacity : 0;
  }

  last(w) { // what was seen of it last
    let i = this.columns.length - 1;
    while (i > 0 && Number.isNaN(this.cell(w, i)[2])) i -= 1;
    return i;
  }

  arrange() {
    const mean = (w) => {
      let sum = 0;
      for (let i = 0; i < this.columns.length; i += 1) sum += this.load(w, i) || 0;
      return sum;
    };
    const means = this.byLoad ? this.names.map((_name, w) => mean(w)) : null;
    this.order = this.names.map((_name, w) => w);
    if (means) this.order.sort((a, b) => means[b] - means[a]);
  }

  // --- drawing ----------------------------------------------------------------------

  draw(range) {
    const width = this.area.clientWidth, count = this.names.length;
    if (!width) return;
    this.arrange();
    const fits = Math.floor(TALLEST / Math.max(count, 1));
    this.line = Math.min(Math.max(fits, FEWEST_PIXELS), MOST_PIXELS);
    this.range = range;
    this.wide = width - NAMES_WIDTH - WORDS_WIDTH;
    const height = Math.max(count, 1) * this.line + TOP + AXIS, ratio = devicePixelRatio;
    resize(this.canvas, Math.round(width * ratio), Math.round(height * ratio));
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = this.board.font;
    if (count && this.wide > 10) this.drawCells(pen);
    this.drawWords(pen);
    this.drawTimes(pen);
    this.point();
    this.describe();
  }

  describe() { // in words, for those who do not see the map
    const states = this.names.map((_name, w) => this.cell(w, this.last(w))[2]);
    const counts = STATES.map((name, state) => [states.filter((seen) => seen === state).length, name]);
    const words = counts.filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
    const label = `Utilisation by worker over time: ${words.join(", ") || this.none}`;
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
  }

  columnAt(x) { // the column that is seen at a pixel, -1 where there is none
    const [from, to] = this.range, times = this.board.x;
    const at = from + ((x + 0.5) / this.wide) * (to - from);
    let i = nearest(times, at);
    if (i >= 0 && times[i] < at) i += 1; // a column ends at its time
    const until = times[i];
    const since = Math.max(times[i - 1] ?? -Infinity, until - 2.5 * this.board.length);
    return i < times.length && i >= 0 && at > since && !this.board.gap[i] ? i : -1;
  }

  drawCells(pen) {
    const { wide, line, order } = this, height = order.length * line;
    resize(this.cells, wide, height);
    const cells = this.cells.getContext("2d", { willReadFrequently: true });
    if (this.image?.width !== wide || this.image.height !== height) {
      this.image = cells.createImageData(wide, height);
    }
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill(0);
    const { ramp, late, gone, paper } = this.board.inks;
    const places = Array.from({ length: wide }, (_v, x) => this.columnAt(x));
    const gutter = line > 3 ? 1 : 0;
    order.forEach((w, row) => {
      const shades = this.columns.map((_c, i) => Math.round(Math.min(this.load(w, i) || 0, 1) * 255));
      const states = this.columns.map((_c, i) => this.cell(w, i)[2]);
      for (let y = row * line; y < (row + 1) * line - gutter; y += 1) {
        for (let x = 0; x < wide; x += 1) {
          const i = places[x];
          if (i < 0 || Number.isNaN(states[i])) continue;
          const stripe = (x + y) % 6 < 2, cross = stripe || (x - y + 6000) % 6 < 2;
          const ink = states[i] === 0 ? ramp[shades[i]]
            : states[i] === 1 ? (stripe ? late : ramp[shades[i]])
            : cross ? gone : paper;
          pixels[y * wide + x] = ink;
        }
      }
    });
    cells.putImageData(this.image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.cells, NAMES_WIDTH, TOP);
  }

  drawWords(pen) {
    const { line, order, board } = this, every = Math.ceil(12 / line), right = NAMES_WIDTH + this.wide + 6;
    pen.textBaseline = "middle";
    let free = -Infinity; // below it there is room for another word
    order.forEach((w, row) => {
      const y = TOP + (row + 0.5) * line, state = this.cell(w, this.last(w))[2];
      pen.fillStyle = board.colors.quiet;
      if (row % every === 0) {
        pen.textAlign = "right";
        pen.fillText(fitted(pen, this.names[w], NAMES_WIDTH - 10), NAMES_WIDTH - 6, y);
      }
      if (state > 0 && y >= free) {
        pen.textAlign = "left";
        pen.fillStyle = state === 1 ? board.colors.warn : board.colors.alarm;
        pen.fillText(`${state === 1 ? "▨" : "✕"} ${STATES[state]}`, right, y);
        free = y + 11;
      }
    });
    if (!order.length) pen.fillText(this.none, NAMES_WIDTH + 160, TOP + 8);
  }

  drawTimes(pen) {
    const [from, to] = this.range, steps = [1, 5, 15, 30, 60, 300, 600, 1800, 3600, 7200, 14400];
    const step = steps.find((s) => ((to - from) / s) * 80 < this.wide) ?? 14400;
    pen.fillStyle = this.board.colors.quiet;
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      const x = NAMES_WIDTH + ((t - from) / (to - from)) * this.wide;
      pen.fillText(timeText(t, step < 60), x, Math.max(this.order.length, 1) * this.line + TOP + AXIS - 2);
    }
  }

  // --- the pointer ------------------------------------------------------------------

  move({ offsetX, offsetY }) {
    const i = this.columnAt(offsetX - NAMES_WIDTH), row = Math.floor((offsetY - TOP) / this.line);
    this.at = row >= 0 && row < this.order.length ? row : null;
    this.board.pointAt(i >= 0 && offsetX >= NAMES_WIDTH ? this.board.x[i] : null);
    this.tell();
  }

  // The moment that is pointed at: a line over the map, which is not drawn anew for it.
  point() {
    const { pointed } = this.board;
    this.pointer.hidden = pointed === null || !this.range || pointed < this.range[0];
    if (!this.pointer.hidden) {
      const [from, to] = this.range, x = ((pointed - from) / (to - from)) * this.wide;
      this.pointer.style.transform = `translateX(${NAMES_WIDTH + Math.round(x)}px)`;
    }
    this.tell();
  }

  tell() {
    const w = this.at === null ? undefined : this.order[this.at], time = this.board.pointed;
    if (w === undefined) return say(this.says, time === null ? "" : timeText(time));
    const [running, capacity, state] = this.cell(w, time === null ? this.last(w) : this.board.place());
    const busy = `${valueText(running || 0, "rate")} of ${valueText(capacity || 0, "count")} running`;
    const seen = Number.isNaN(state) ? "no data" : `${busy}, ${STATES[state]}`;
    return say(this.says, `${this.names[w]} · ${time === null ? "now" : timeText(time)} · ${seen}`);
  }

  close() {
    this.sizes.disconnect();
  }
}

function fitted(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}
