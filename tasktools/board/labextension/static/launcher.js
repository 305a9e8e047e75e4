// The tile of the live board in the launcher: it opens a notebook with the board, and runs it. JupyterLab loads
// it as a module of a webpack container; of the parts that are shared there it uses the launcher's token alone.
(() => {
  const FILE = "tasktools-board.ipynb";
  const COMMAND = "tasktools:board";
  const SOURCE = [
    "import tasktools as tt",
    "",
    'cluster = tt.connect(default="demo://?incident=bad_deploy", read_only=True)  # BROKER_DSN, or else a demo',
    "tt.widgets.dashboard(cluster)",
  ].join("\n");
  const NOTEBOOK = {
    cells: [{ cell_type: "code", execution_count: null, id: "board", metadata: {}, outputs: [], source: SOURCE }],
    metadata: { kernelspec: { name: "python3", display_name: "Python 3 (ipykernel)", language: "python" } },
    nbformat: 4,
    nbformat_minor: 5,
  };
  let shared = {};

  const open = async (app, { cwd } = {}) => {
    const path = cwd ? `${cwd}/${FILE}` : FILE, { contents } = app.serviceManager;
    const isThere = await contents.get(path, { content: false }).then(() => true, () => false);
    if (!isThere) await contents.save(path, { type: "notebook", format: "json", content: NOTEBOOK });
    const opened = await app.commands.execute("docmanager:open", { path });
    await opened.context.sessionContext.ready;
    await app.commands.execute("notebook:run-all-cells");
    return opened;
  };

  const pluginOf = (ILauncher) => ({
    id: "tasktools:launcher",
    autoStart: true,
    optional: [ILauncher],
    activate: (app, launcher) => {
      app.commands.addCommand(COMMAND, {
        label: "Live board",
        caption: "The live board of tasktools, of the cluster that BROKER_DSN names",
        iconClass: "jp-LauncherCard-icon jp-NotebookIcon",
        execute: (args) => open(app, args),
      });
      if (launcher) launcher.add({ command: COMMAND, category: "tasktools" });
    },
  });

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.tasktools = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const [launcher] = Object.values(shared["@jupyterlab/launcher"] || {});
      if (!launcher) return () => ({ __esModule: true, default: [] }); // Notebook 7 has none
      const { ILauncher } = (await launcher.get())();
      return () => ({ __esModule: true, default: [pluginOf(ILauncher)] });
    },
  };
})();
