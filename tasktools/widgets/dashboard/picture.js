// The board as one picture: what a saved notebook shows where there is no kernel.

function drawPicture(board) {
  if (!board.colors) board.draw(); // it was never in sight, or the theme has just changed
  const box = board.root.getBoundingClientRect();
  const canvas = board.picture;
  resize(canvas, Math.ceil(box.width), Math.ceil(box.height));
  const pen = canvas.getContext("2d");
  pen.fillStyle = board.colors.paper;
  pen.fillRect(0, 0, box.width, box.height);
  for (const part of board.root.querySelectorAll("canvas, [data-picture], h3, .tb-name, .tb-value, .tb-tile, .tb-chart")) {
    const at = part.getBoundingClientRect(), x = at.left - box.left, y = at.top - box.top;
    if (!at.width || part.closest("[hidden]")) continue;
    if (part.matches("canvas")) pen.drawImage(part, x, y, at.width, at.height);
    else if (part.matches(".tb-tile, .tb-chart")) frame(pen, part, x, y, at);
    else write(pen, part, x, y, at);
  }
  return canvas;
}

function frame(pen, part, x, y, { width, height }) {
  pen.strokeStyle = getComputedStyle(part).borderTopColor;
  pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
}

function write(pen, part, x, y, { width, height }) {
  const style = getComputedStyle(part);
  const text = part.dataset.picture || (part.matches("h3") ? part.firstChild : part).textContent;
  pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  pen.fillStyle = style.color;
  pen.globalAlpha = Number(getComputedStyle(part.parentElement).opacity);
  pen.textBaseline = "middle";
  const wide = width - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const isRight = style.textAlign === "right";
  pen.textAlign = isRight ? "right" : "left";
  const edge = isRight ? x + width - parseFloat(style.paddingRight) : x + parseFloat(style.paddingLeft);
  pen.fillText(fitted(pen, text, Math.max(wide, 8) + 1), edge, y + height / 2);
  pen.globalAlpha = 1;
}
