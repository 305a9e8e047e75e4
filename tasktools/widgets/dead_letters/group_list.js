// Draws the groups and says which was clicked. Whatever comes from a message is set as text.

function make(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function makeLine(line, chosen, choose) {
  const made = make("button", "tg-line");
  made.setAttribute("aria-pressed", chosen);
  made.title = `${line.title}\n${line.example}`;
  made.dataset.lmSuppressShortcuts = ""; // JupyterLab would take keys for commands
  const bar = make("span", "tg-bar");
  bar.style.setProperty("--tg-share", line.share);
  made.append(
    bar, make("span", "tg-count", line.count), make("span", "tg-title", line.title),
    make("span", "tg-example", line.example), make("span", "tg-when", line.when),
  );
  made.addEventListener("click", () => choose(line.name));
  return made;
}

export default {
  render({ model, el }) {
    const list = make("div", "tasktools-groups");
    list.setAttribute("role", "group");
    list.setAttribute("aria-label", "Groups");
    const choose = (name) => model.send({ name });
    const draw = () => {
      const at = [...list.children].indexOf(document.activeElement);
      const { scrollTop } = list;
      list.replaceChildren(
        ...model.get("lines").map((line, i) => makeLine(line, i === model.get("chosen"), choose)));
      if (model.get("more")) list.append(make("div", "tg-more", model.get("more")));
      list.scrollTop = scrollTop;
      list.children[at]?.focus();
    };
    draw();
    for (const name of ["lines", "chosen", "more"]) model.on(`change:${name}`, draw);
    el.append(list);
    return () => model.off(null, draw);
  },
};
