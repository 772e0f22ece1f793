"""A notebook open in JupyterLab: its cells by the model, its widgets by the keyboard."""

from typing import Any

from browser.server import Server

LOOK = 200  # milliseconds between two looks at a condition: a page that paints nothing is still looked at

PANEL = "window.jupyterapp?.shell?.currentWidget"
# the toolbar says idle before there is a kernel
IDLE = f"""() => {{
  const kernel = {PANEL}?.sessionContext?.session?.kernel;
  return {PANEL}?.content?.model?.cells?.length && kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}}"""
# where a notebook stands that does not come to rest
STATE = f"""() => {{
  const panel = {PANEL}, kernel = panel?.sessionContext?.session?.kernel;
  const cells = panel?.content?.model?.toJSON().cells ?? [];
  return {{
    kernel: kernel && `${{kernel.connectionStatus}}, ${{kernel.status}}`,
    ran: window.ran,
    not_run: cells.flatMap((cell, i) => cell.cell_type === 'code' && !cell.execution_count ? [i] : []),
    dialog: document.querySelector('.jp-Dialog')?.innerText,
  }};
}}"""
# a promise that evaluate waited for would hold up all messages of the page; so it is left behind and looked at
RUN_COMMAND = """command => {
  window.ran = null;
  const done = window.jupyterapp.commands.execute(command);  // some commands give nothing back
  done.then(ok => window.ran = {ok: ok ?? true}, error => window.ran = {error: `${error}`});
}"""
EDIT = f"""([index, source]) => {{
  const notebook = {PANEL}.content;
  notebook.activeCellIndex = index;
  if (source !== null) notebook.widgets[index].model.sharedModel.setSource(source);
}}"""
CONTROLS = "[role=slider], select, input[type=radio], input[type=checkbox], button.jupyter-button"
# what a plot shows, without plotly's own notes; typed arrays become plain ones
SHOWN = """plot => JSON.stringify([plot.data, plot.layout], (key, value) =>
  key.startsWith('_') ? undefined : ArrayBuffer.isView(value) ? [...value] : value)"""


class LiveNotebook:
    """A notebook in the page of a browser, with a kernel of its own."""

    def __init__(self, page, server: Server, name: str):
        self.page, self.name = page, name
        page.goto(server.address(name))
        self._wait("to be open with an idle kernel", IDLE)

    def cells(self) -> list[dict[str, Any]]:
        """The cells as nbformat has them, outputs included."""
        cells = self.page.evaluate(f"() => {PANEL}.content.model.toJSON().cells")
        for cell in cells:
            cell["source"] = _text(cell["source"])
        return cells

    def run_all(self) -> None:
        self.run_command("notebook:run-all-cells")

    def run_cell(self, index: int, source: str | None = None) -> str:
        """Run one cell, with another source if one is given, and return what it printed or said."""
        self.page.evaluate(EDIT, [index, source])
        self.run_command("notebook:run-cell")
        return said(self.cells()[index])

    def run_command(self, command: str) -> None:
        self.page.evaluate(RUN_COMMAND, command)
        self._wait(f"for the end of {command}", "() => window.ran")
        assert self.page.evaluate("() => window.ran") == {"ok": True}, f"{command} in {self.name}"
        self._wait(f"for an idle kernel after {command}", IDLE)

    def _wait(self, what: str, condition: str) -> None:
        """Wait for a condition of the page; what does not come is said with the state of the notebook."""
        try:
            self.page.wait_for_function(condition, polling=LOOK)
        except Exception as error:
            error.add_note(f"{self.name} waited {what}: {self.page.evaluate(STATE)}")
            raise

    def outputs(self, *, having: str, lacking: str | None = None):
        """The output areas that hold one thing and do not hold another, as a locator."""
        found = self.page.locator(".jp-OutputArea-child:visible").filter(has=self.page.locator(having))
        return found.filter(has_not=self.page.locator(lacking)) if lacking else found

    def explorers(self) -> list["LiveExplorer"]:
        """Every output with a figure and something to move beside it."""
        areas = self.outputs(having=".js-plotly-plot").filter(has=self.page.locator(CONTROLS)).all()
        return [LiveExplorer(self.page, area) for area in areas]

    def predictions(self) -> list:
        """Every group of radio buttons that stands without a figure."""
        return self.outputs(having="input[type=radio]", lacking=".js-plotly-plot").all()


class LiveExplorer:
    """The controls of an explorer, moved with the keyboard alone, and its figure."""

    def __init__(self, page, area):
        self.page = page
        self.plot = area.locator(".js-plotly-plot").first
        self.controls = area.locator(CONTROLS).all()
        self.plot.scroll_into_view_if_needed()
        self.plot.locator(".main-svg").first.wait_for()
        self._rest()

    def shown(self) -> str:
        return self.plot.evaluate(SHOWN)

    def _rest(self) -> None:
        """Wait until the figure has the size that it will keep: until then its axes change by themselves."""
        for _ in range(500):
            if not self._changes(self.shown(), tenths=8):
                return
        raise TimeoutError("the figure keeps changing although nothing is moved")

    def move(self, control) -> bool:
        """Move a control and say whether the figure came to show something else."""
        before = self.shown()
        for tenths in (20, 200):  # the second time for a machine that is busy
            for key in self._keys(control):
                control.focus()
                self.page.keyboard.press(key)
                if self._changes(before, tenths):
                    return True
        return False

    def _changes(self, before: str, tenths: int) -> bool:
        for _ in range(tenths):
            if self.shown() != before:
                return True
            self.page.wait_for_timeout(100)
        return False

    def _keys(self, control) -> tuple[str, ...]:
        if control.evaluate("e => e.matches('input[type=checkbox], button')"):
            return ("Space",)
        if control.evaluate("e => e.matches('[role=slider]')"):
            return ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft")
        return ("ArrowDown", "ArrowUp", "ArrowUp")


def said(cell: dict[str, Any]) -> str:
    """What a cell printed to stdout and what it said in Markdown."""
    parts = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream" and output["name"] == "stdout":
            parts.append(_text(output["text"]))
        parts.append(_text(output.get("data", {}).get("text/markdown", "")))
    return "\n".join(filter(None, parts))


def complaints(cell: dict[str, Any]) -> list[str]:
    """The errors that a cell raised and what it wrote to stderr."""
    outputs = cell.get("outputs", [])
    raised = [f"{one['ename']}: {one['evalue']}" for one in outputs if one["output_type"] == "error"]
    return raised + [_text(one["text"]) for one in outputs if one.get("name") == "stderr"]


def _text(value: str | list[str]) -> str:
    return "".join(value)
