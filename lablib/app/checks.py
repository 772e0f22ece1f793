"""Everything that is checked before anything runs: names, files, tags, types, scale, workers, deadline, folder."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lablib.app.errors import BadInput
from lablib.app.notebook import NOTEBOOKS, Notebook, lab_notebooks, load, question, source, tags
from lablib.app.parameters import EXAMPLE, Parameter, declared
from lablib.app.run_state import NotebookRun, RunState
from lablib.core.checkout import misplaced
from lablib.core.config import resolve_scale
from lablib.core.cores import worker_count
from lablib.core.redact import blanker

DEADLINES = {"smoke": 900.0, "lab": 3600.0, "full": 12 * 3600.0}  # seconds a notebook; a busy machine needs less


def all_notebooks() -> list[Path]:
    """The lab's notebooks, in their order."""
    return lab_notebooks(NOTEBOOKS)


def find_notebooks(names: Sequence[str]) -> list[Path]:
    """The notebooks that were named by number, by name or by path; all of the lab's where none was."""
    found = list(dict.fromkeys(_find_notebook(name).resolve() for name in names)) if names else all_notebooks()
    if not found:
        raise BadInput(f"there is no notebook in {os.path.relpath(NOTEBOOKS)}; name one by its path")
    for path in found:
        if words := misplaced(path.parent):
            raise BadInput(f"{path.name}: {words}")
    stems = [path.stem for path in found]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise BadInput(f"two of the notebooks are called {twice}; run them one after the other")
    return found


def _find_notebook(name: str) -> Path:
    path = Path(name)
    if path.suffix == ".ipynb" and os.path.isfile(path):  # which a name that is too long does not upset
        return path
    beside = NOTEBOOKS / f"{name.removesuffix('.ipynb')}.ipynb"
    if beside.parent == NOTEBOOKS and os.path.isfile(beside):
        return beside
    known = {one.stem: one for one in all_notebooks()}
    numbered = [stem for stem in known if name.isdigit() and stem.startswith(f"{name:0>2}_")]
    if len(numbered) > 1:
        raise BadInput(f"{name} is the number of {' and of '.join(numbered)}; give the name of one of them")
    if numbered:
        return known[numbered[0]]
    if os.path.exists(path):
        raise BadInput(f"{name or 'an empty name'} is not a notebook; expected a file that ends in .ipynb")
    among = ", ".join(known) or "none"
    raise BadInput(f"there is no notebook {name!r}; expected a path, or a number or name of: {among}")


def assignments(pairs: Sequence[str]) -> dict[str, str]:
    """`name=value` texts as a dictionary; BadInput for another form, or a name given twice and different."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise BadInput(f"-p {pair} is not of the form name=value, such as -p seed=3")
        if found.setdefault(name, value) != value:
            raise BadInput(f"-p {name} is given twice, as {found[name]} and as {value}; give it once")
        if blanker()(value) != value:
            raise BadInput(
                f"-p {name} holds a secret, and runs keep their parameters; let the notebook read it elsewhere"
            )
    if "interactive" in found:
        raise BadInput("-p interactive is not for `lab run`, which never draws widgets; leave it out")
    return found


def chosen_scale(option: str | None, parameters: dict[str, str]) -> str:
    """The scale of a run: `--scale` or `-p scale=`, else LAB_SCALE, else lab."""
    given = parameters.get("scale")
    if option is not None and given is not None and option != given:
        raise BadInput(f"--scale {option} and -p scale={given} differ; give one of them")
    chosen = option if option is not None else given
    try:
        return resolve_scale(chosen)
    except ValueError as error:
        words = f"{error}" if chosen is None else f"--scale is {chosen!r}; expected smoke, lab or full"
        raise BadInput(words) from None


def checked_workers(workers: int | None) -> int:
    """The budget of CPU processes: the one given, else LAB_WORKERS, else the cores of this machine."""
    if workers is not None and workers < 1:
        raise BadInput(f"--workers is {workers}; expected a whole number of at least 1")
    try:
        return workers or worker_count()
    except ValueError as error:
        raise BadInput(str(error)) from None


def checked_timeout(timeout: float | None, scale: str) -> float:
    """The deadline of a whole notebook in seconds: the one given, else by scale."""
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise BadInput(f"--timeout is {timeout:g}; expected seconds above 0, such as --timeout 600")
    return timeout or DEADLINES[scale]


def check_folder(asked: str, folder: Path) -> Path:
    """The folder, which need not exist yet; BadInput where nothing can ever be kept in it: better now than late."""
    place = existing(folder)
    if not place.is_dir():
        kind = "a link to nowhere" if place.is_symlink() else "a file"
        raise BadInput(f"{asked} {folder}: {place.name} is {kind}; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise BadInput(f"{asked} {folder}: {place.name} cannot be written; name a folder that can")
    return folder


def existing(folder: Path) -> Path:
    """The nearest place on the way to a folder that is there, be it a folder, or a file or a dead link in the way."""
    return next(place for place in [folder.absolute(), *folder.absolute().parents] if os.path.lexists(place))


def check_notebooks(
    paths: Sequence[Path], scale: str, parameters: dict[str, str], *, all_known: bool = True
) -> list[NotebookRun]:
    """Every notebook read and judged; BadInput at the first fault.

    With `all_known` also for a parameter that none of them has; the rest of an earlier run need not have it.
    """
    declarations = [_declarations(path) for path in paths]
    for name in parameters.keys() - {"scale"} if all_known else ():
        if not any(name in known for _, known in declarations):
            every = sorted({known for _, names in declarations for known in names} - {"interactive"})
            raise BadInput(f"no notebook has a parameter {name!r}; they have: {', '.join(every) or 'none'}")
    checked = []
    for path, (notebook, known) in zip(paths, declarations, strict=True):
        given: dict[str, Any] = {name: known[name].read(text) for name, text in parameters.items() if name in known}
        given |= {name: value for name, value in {"scale": scale, "interactive": False}.items() if name in known}
        values = {name: parameter.default for name, parameter in known.items()} | given
        run = {"name": path.stem, "path": str(path), "question": question(notebook)}
        checked.append(NotebookRun(**run, given=given, parameters=values))
    return checked


def _declarations(path: Path) -> tuple[Notebook, dict[str, Parameter]]:
    import nbformat

    notebook = load(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a cell without an id is mended by whoever saves the notebook next
            nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path.name} is not a valid notebook ({reason}); save it again in JupyterLab") from None
    tagged = [cell for cell in notebook["cells"] if "parameters" in tags(cell)]
    if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
        found = "no code cell" if len(tagged) < 2 else f"{len(tagged)} cells"
        raise BadInput(f"{path.name} has {found} tagged `parameters`; tag exactly one, with lines such as {EXAMPLE}")
    try:
        return notebook, declared(source(tagged[0]))
    except SyntaxError as error:
        raise BadInput(f"{path.name}: its parameters cell is not plain Python (line {error.lineno}); mend it") from None


def to_resume(state: RunState) -> list[NotebookRun]:
    """What a run still lacks; BadInput where it is still running, lacks nothing or lost a notebook."""
    if state.seen_status == "running":
        raise BadInput(f"run {state.id} is still running (process {state.pid}); stop it first, or wait")
    lacking = [run for run in state.notebooks if run.status != "ok" or not state.executed(run).is_file()]
    if not lacking:
        raise BadInput(f"run {state.id} is complete: all its notebooks are ok; start another with `lab run`")
    for run in lacking:
        if not state.notebook_path(run).is_file():
            raise BadInput(f"run {state.id} needs {run.path}, which is gone; restore it, or start another run")
    return lacking


def missing_notes(checked: Sequence[NotebookRun], parameters: dict[str, str]) -> list[str]:
    """A line for each parameter that some of the notebooks do not have, and so do not heed."""
    without = {name: [run.name for run in checked if name not in run.parameters] for name in parameters}
    lacking = ((name, lack) for name, lack in without.items() if lack and name != "scale")
    return [f"note: {name} is no parameter of {', '.join(lack)}" for name, lack in lacking]
