// What is on the board, as files for the reader: a picture, and the values of the charts.

function isoText(seconds) {
  return new Date(seconds * 1000).toISOString();
}

function csvCell(value) { // no cell is a formula
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// A row a value, as the charts show them, and of a gap none.
function valuesAsCsv(board) {
  const [from, to] = board.range, rows = [["time", "chart", "unit", "topic", "value"]];
  const units = { count: "count", rate: "per second", share: "share", span: "seconds" };
  for (const { spec, lines, rows: values } of board.charts) {
    lines.forEach(({ name }, i) => board.x.forEach((at, column) => {
      const value = values[i][column];
      if (value !== null && at >= from && at <= to) {
        rows.push([isoText(at), spec.title, units[spec.unit], csvCell(name), String(value)]);
      }
    }));
  }
  return rows.map((row) => row.join(",")).join("\r\n") + "\r\n";
}

function saveFile(blob, board, ending) {
  const at = isoText(board.newest).slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  const demo = board.model.get("head").demo ? "-DEMO" : "";
  const link = tag("a", "", { href: URL.createObjectURL(blob), download: `tasktools${demo}-${at}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
