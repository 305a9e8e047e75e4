// How things are called and coloured. COLORS and OTHER come from palette.py; each colour comes solid,
// dashed and dotted.
const DASHES = [[], [7, 3], [2, 3]];

function isDark(element) {
  const [r, g, b] = getComputedStyle(element).backgroundColor.match(/[\d.]+/g).map(Number);
  return 0.3 * r + 0.6 * g + 0.1 * b < 128;
}

function lineStyle(style) { // without a style: all others together
  if (style === null) return { color: OTHER, dash: [1, 2] };
  return { color: COLORS[style % COLORS.length], dash: DASHES[Math.floor(style / COLORS.length) % 3] };
}

const whole = (value) => Math.round(value).toLocaleString("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function spanText(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const [large, big, small, little] = seconds < 3600 ? [60, "min", 1, "s"] : [3600, "h", 60, "min"];
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${big}${rest ? ` ${rest} ${little}` : ""}`;
}

function valueText(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "share") return `${Math.round(value * 100)} %`;
  if (unit === "span") return spanText(value);
  if (unit === "rate") return value.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  if (value % 1) return value.toLocaleString("en", { maximumFractionDigits: 1 });
  return whole(value);
}

function axisText(value, unit) {
  if (unit === "share") return `${Math.round(value * 100)}%`;
  if (unit !== "span") return compact.format(value);
  if (value < 120) return `${compact.format(value)}s`;
  return value < 7200 ? `${compact.format(value / 60)}m` : `${compact.format(value / 3600)}h`;
}

const two = (number) => String(number).padStart(2, "0");

function timeText(seconds, withSeconds = true) { // UTC, as in all frames
  const at = new Date(seconds * 1000);
  const minutes = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return withSeconds ? `${minutes}:${two(at.getUTCSeconds())}` : minutes;
}

function dateText(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 10)} ${timeText(seconds)} UTC`;
}

function tag(name, className, attributes = {}, children = []) {
  const made = document.createElement(name);
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  // JupyterLab would take the keys of these for its own.
  if (["button", "input", "select"].includes(name) || attributes.tabindex) made.dataset.lmSuppressShortcuts = "";
  made.append(...children);
  return made;
}

function resize(canvas, width, height) { // to set a size clears a canvas, and allocates it anew
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The place of the value nearest to *wanted* in *sorted*, -1 if there is none.
function nearest(sorted, wanted) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - sorted[low - 1] < sorted[low] - wanted ? low - 1 : high < 0 ? -1 : low;
}
