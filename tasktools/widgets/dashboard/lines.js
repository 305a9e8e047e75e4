// A chart of lines over time, one a topic, with a legend that tells their values.
const PLOT_HEIGHT = 176;

class LineChart {
  constructor(board, spec, threshold) {
    Object.assign(this, { board, spec, threshold, lines: [], rows: [], keys: [], plot: null });
    this.time = tag("span", "tb-time");
    this.words = tag("span", "tb-forecast", { "data-picture": "" });
    this.area = tag("div", "tb-plot", {
      title: spec.how, tabindex: 0, role: "group", "aria-label": `${spec.title} over time: arrows choose a moment, plus and minus zoom`,
    });
    this.area.addEventListener("keydown", (event) => board.steer(event, this));
    this.area.addEventListener("blur", () => board.pointed !== null && board.pointAt(null));
    this.isOpen = false;
    this.fold = tag("button", "tb-zeros", { type: "button", "data-picture": "" });
    this.fold.addEventListener("click", () => { this.isOpen = !this.isOpen; board.drawSoon(); });
    this.legend = tag("div", "tb-legend");
    this.element = tag("section", "tb-chart", { "aria-label": spec.title, "data-chart": spec.name }, [
      tag("h3", "", {}, [spec.title, this.words, this.time]),
      tag("div", "tb-body", {}, [this.area, this.legend]),
    ]);
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.area);
  }

  // --- what is shown ----------------------------------------------------------------

  setLines({ topics, rest }) {
    this.lines = topics.map(([name, style]) => ({ name, style }));
    if (rest) this.lines.push({ name: "other", style: null, title: `${rest} other topics together` });
    this.keys = this.lines.map((line) => this.makeKey(line));
    this.legend.replaceChildren(...this.keys.map((key) => key.button), this.fold);
    this.zeros = new Set();
    this.showMarks();
    this.plot?.destroy();
    this.plot = null;
  }

  makeKey({ name, title }) {
    const mark = tag("canvas", "tb-mark", { width: 36, height: 4 });
    const label = tag("span", "tb-name", {}, [name]), value = tag("span", "tb-value");
    const flag = tag("span", "tb-flag", { "data-picture": "", "aria-hidden": "true" }, ["▲"]);
    const button = tag("button", "tb-key", { type: "button" }, [mark, flag, label, value]);
    const title_ = `${title ?? name}\nclick: hide or show; double click: alone`;
    const onFlag = (event) => event.target === flag;
    button.addEventListener("click", (event) =>
      (onFlag(event) ? this.board.investigate(name) : this.board.ask("hide", { topic: name })));
    button.addEventListener("dblclick", (event) => onFlag(event) || this.board.ask("isolate", { topic: name }));
    return { button, label, value, mark, flag, title: title_ };
  }

  // Topics with a finding have a flag, which opens it.
  showMarks() {
    const { marks } = this.board.shown;
    this.keys.forEach(({ button, flag, title }, i) => {
      const { name, style } = this.lines[i];
      const [severity, finding] = (style !== null && Object.hasOwn(marks, name) && marks[name]) || [];
      flag.hidden = !severity;
      flag.dataset.severity = severity ?? "";
      flag.title = `${finding}\nclick: open it`;
      button.title = severity ? `${title}\n${severity}: ${finding}` : title;
      button.classList.toggle("tb-flagged", Boolean(severity));
    });
  }

  setRows(rows) {
    this.rows = rows;
  }

  makePlot() {
    const { board, spec } = this, colors = board.colors;
    const axis = {
      stroke: colors.quiet, font: board.font, ticks: { show: false },
      grid: { stroke: colors.grid, width: 1 },
    };
    const options = {
      width: this.area.clientWidth, height: PLOT_HEIGHT, legend: { show: false }, padding: [8, 24, 0, 0],
      scales: { x: { time: true, auto: false }, y: { range: () => this.range() } },
      axes: [
        { ...axis, size: 26, space: (_u, _axis, from, to) => (to - from < 240 ? 70 : 52), values: (_u, at, _a, _s, step) => at.map((t) => timeText(t, step < 60)) },
        { ...axis, size: 46, space: 28, values: (_u, at) => at.map((v) => axisText(v, spec.unit)) },
      ],
      series: [{}, ...this.lines.map((line, i) => this.seriesOf(line, i))],
      cursor: {
        y: false, drag: { x: true, y: false, setScale: false }, points: { size: 6 },
        bind: { dblclick: () => () => { board.zoom(null); return null; } },
      },
      hooks: {
        drawClear: [(u) => this.drawGaps(u), (u) => this.drawForecast(u)], draw: [(u) => this.drawThreshold(u)],
        setCursor: [(u) => board.point(this, u)], setSelect: [(u) => this.select(u)],
      },
    };
    this.plot = new uPlot(options, [board.x, ...this.rows], this.area);
    this.area.querySelector(".u-over").setAttribute("data-lm-suppress-shortcuts", "");
  }

  seriesOf({ name, style }, i) {
    const { color, dash } = lineStyle(style);
    return {
      label: name, stroke: () => (this.isFolded(i) ? this.board.colors.quiet : color), dash, width: 1.5, spanGaps: false,
      show: !this.board.hidden.has(name),
      points: { show: true, size: 4, fill: color, filter: (u, i) => alone(u.data[i]) },
    };
  }

  // From 0 to the highest of the lines. Where all others together are far above each of those, the
  // chart is made for these, and the legend says so.
  range() {
    const { threshold, spec } = this, visible = this.lines.map(({ name }) => !this.board.hidden.has(name));
    const highest = this.rows.map((row, i) => (visible[i] ? this.highest(row) : 0));
    const isRest = this.lines.map(({ style }) => style === null);
    const named = Math.max(0, ...highest.filter((_h, i) => !isRest[i]));
    const all = Math.max(0, ...highest);
    this.isAbove = named > 0 && all > 2 * named;
    const max = Math.max(this.isAbove ? named : all, this.highestToCome(all));
    const near = threshold !== undefined && max > threshold / 2 ? threshold : 0;
    const top = Math.max(max, near) * 1.08;
    if (spec.unit === "share" && top > 0.5) return [0, Math.max(top, 1.02)];
    return [0, Math.max(top, { share: 0.1, rate: 1, span: 10, count: 5 }[spec.unit])];
  }

  // Lines that are 0 all the time, and not unknown now, are folded in the legend, but for those with
  // a finding; a single one is not worth it.
  findZeros() {
    const { marks } = this.board.shown, [from, to] = this.shown, { x } = this.board;
    const isZero = (row) => row[x.length - 1] === 0 && row.every((value, i) => !value || x[i] < from || x[i] > to);
    const zeros = this.lines.map((_line, i) => i).filter((i) => isZero(this.rows[i]) && !Object.hasOwn(marks, this.lines[i].name));
    this.zeros = new Set(zeros.length > 1 ? zeros : []);
  }

  isFolded(i) {
    return this.zeros.has(i) && !this.isOpen;
  }

  highest(row) {
    const [from, to] = this.shown, { x } = this.board;
    return row.reduce((most, value, i) => (value > most && x[i] >= from && x[i] <= to ? value : most), 0);
  }

  // --- the forecast: a band of the depth to come, in the chart of queues ---------------

  // Its line, unless that is hidden, or others are shown by now.
  foreseen() {
    const { forecast, hidden } = this.board;
    if (this.spec.name !== "queued" || !forecast.band || hidden.has(forecast.topic)) return null;
    return this.lines.find(({ name, style }) => style !== null && name === forecast.topic) ?? null;
  }

  // A quarter of the chart at most is of the future.
  withFuture([from, to]) {
    if (this.board.zoomed || !this.foreseen()) return [from, to];
    const { band } = this.board.forecast, end = band[band.length - 1][0] + 15;
    return [from, to + Math.min(Math.max(end - to, 0), (to - from) / 3)];
  }

  // The band may double the height of the chart, and no more.
  highestToCome(highest) {
    if (!this.foreseen()) return 0;
    const shown = this.board.forecast.band.filter(([at]) => at <= this.shown[1]);
    return Math.min(Math.max(0, ...shown.map(([, , , high]) => high)), 2 * highest);
  }

  drawForecast(u) {
    const line = this.foreseen();
    if (!line) return;
    const pen = u.ctx, { left, width, top, height } = u.bbox, ratio = devicePixelRatio, { band } = this.board.forecast;
    const at = ([t, ...depth], n) => [u.valToPos(t, "x", true), u.valToPos(depth[n], "y", true)];
    const path = (points) => new Path2D(points.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join(""));
    pen.save();
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    pen.fillStyle = pen.strokeStyle = lineStyle(line.style).color;
    pen.globalAlpha = 0.22;
    pen.fill(path([...band.map((row) => at(row, 0)), ...band.map((row) => at(row, 2)).reverse()]));
    pen.globalAlpha = 0.9;
    pen.lineWidth = 1.5 * ratio;
    pen.setLineDash([2 * ratio, 4 * ratio]);
    pen.stroke(path(band.map((row) => at(row, 1))));
    pen.globalAlpha = 1;
    pen.strokeStyle = this.board.colors.quiet;
    pen.lineWidth = ratio;
    pen.stroke(path([0, height].map((y) => [u.valToPos(this.board.edge, "x", true), top + y])));
    pen.restore();
  }

  tellForecast() {
    const line = this.foreseen(), { words, title } = this.board.forecast;
    say(this.words, line ? words : "");
    this.words.title = line ? title : "";
  }

  // --- drawing ----------------------------------------------------------------------

  draw(range) {
    if (!this.area.clientWidth) return;
    const [from, to] = this.shown = this.withFuture(range);
    this.findZeros();
    if (!this.plot) this.makePlot();
    const { plot } = this;
    plot.batch(() => {
      plot.setData([this.board.x, ...this.rows], false);
      this.lines.forEach(({ name }, i) => {
        const show = !this.board.hidden.has(name);
        if (plot.series[i + 1].show !== show) plot.setSeries(i + 1, { show });
      });
      plot.setScale("x", { min: from, max: to });
    });
    this.drawKeys();
    this.drawFold();
    this.tellForecast();
    this.tell();
  }

  drawKeys() {
    this.lines.forEach(({ name, style }, i) => {
      const { button, mark, label } = this.keys[i];
      button.hidden = this.isFolded(i);
      if (style === null) say(label, this.isAbove ? "other (above ↑)" : "other");
      button.setAttribute("aria-pressed", String(!this.board.hidden.has(name)));
      const { color, dash } = lineStyle(style), pen = mark.getContext("2d");
      if (mark.drawn === color) return;
      mark.drawn = color;
      pen.clearRect(0, 0, 36, 4);
      pen.strokeStyle = color;
      pen.lineWidth = 4;
      pen.setLineDash(dash.map((length) => 2 * length));
      pen.stroke(new Path2D("M0 2H36"));
    });
  }

  drawFold() {
    this.fold.hidden = !this.zeros.size;
    this.fold.setAttribute("aria-expanded", String(this.isOpen));
    this.fold.title = [...this.zeros].map((i) => this.lines[i].name).join(", ");
    say(this.fold, `${this.isOpen ? "▴" : "▾"} ${this.zeros.size} at 0`);
  }

  // The values at the cursor, or those of this moment, as the table of topics has them: the newest
  // interval of a long window has a mean or a maximum over some seconds.
  tell() {
    const { board, spec } = this, at = board.place();
    const isNow = ({ name, style }) => board.pointed === null && style !== null && board.topics.has(name);
    this.keys.forEach(({ value }, i) => {
      const line = this.lines[i];
      say(value, valueText(isNow(line) ? board.topics.now(line.name, spec.name) : this.rows[i]?.[at], spec.unit));
    });
    say(this.time, this.board.pointed === null ? "" : this.board.pointedText());
  }

  inWords() { // for those who hear it
    const values = this.lines.map(({ name }, i) => `${name} ${valueText(this.rows[i]?.[this.board.place()], this.spec.unit)}`);
    return `${this.board.pointedText()}: ${values.join(", ")}`;
  }

  point(left) {
    this.plot?.setCursor(left === null ? { left: -10, top: -10 } : { left, top: 0 }, false);
    this.tell();
  }

  drawGaps(u) {
    const { x, gap } = this.board, pen = u.ctx, { left, width, top, height } = u.bbox;
    const place = (t) => Math.min(Math.max(u.valToPos(t, "x", true), left), left + width);
    pen.save();
    pen.fillStyle = this.board.colors.gap;
    gap.forEach((is, i) => {
      if (!is || i + 1 >= x.length) return;
      const from = place(x[i]), to = place(x[i + 1]);
      if (to > from) pen.fillRect(from, top, to - from, height);
    });
    pen.restore();
  }

  drawThreshold(u) {
    if (this.threshold === undefined) return;
    const pen = u.ctx, { left, width, top } = u.bbox, ratio = devicePixelRatio;
    const words = `limit ${valueText(this.threshold, this.spec.unit)}`;
    const above = this.threshold > u.scales.y.max;
    const y = above ? top : u.valToPos(this.threshold, "y", true);
    pen.save();
    pen.strokeStyle = pen.fillStyle = this.board.colors.alarm;
    pen.font = `${10 * ratio}px ${this.board.family}`;
    pen.textAlign = "right";
    pen.textBaseline = above || y < top + 14 * ratio ? "top" : "bottom";
    const below = pen.textBaseline === "top";
    pen.fillText(above ? `${words} ↑` : words, left + width - 3 * ratio, y + (below ? 3 : -2) * ratio);
    if (!above) {
      pen.setLineDash([5 * ratio, 4 * ratio]);
      pen.lineWidth = ratio;
      pen.stroke(new Path2D(`M${left} ${y}h${width}`));
    }
    pen.restore();
  }

  select(u) {
    const { left, width } = u.select;
    if (width > 4) this.board.zoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
    if (width) u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  resize() {
    const width = this.area.clientWidth;
    if (!this.plot) this.board.drawSoon();
    else if (width && width !== this.plot.width) this.plot.setSize({ width, height: PLOT_HEIGHT });
  }

  restyle() {
    this.plot?.destroy();
    this.plot = null;
  }

  close() {
    this.sizes.disconnect();
    this.plot?.destroy();
  }
}

// The places of values without neighbours, which no line would show.
function alone(values) {
  const found = [];
  values.forEach((value, i) => {
    if (value !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null) found.push(i);
  });
  return found;
}
