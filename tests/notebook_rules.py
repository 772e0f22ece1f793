"""The rules of a notebook's form (DESIGN section 4): each takes a notebook and its folder and says what is wrong."""

import ast
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

HEADINGS = [
    "The question",
    "Setup",
    "Predict",
    "In one picture",
    "Derive it small",
    "The experiment",
    "What happened",
    "What it cost and what we do not know",
]
PLOTTING = {"plotly", "matplotlib", "seaborn", "altair"}
TRAINING = {"backward", "step", "zero_grad"}
MOST_IMPORTS, LONGEST_DEF, MOST_CODE_CELLS = 10, 10, 2
DRAWING = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)\s]+\.svg)\)")
ROW = re.compile(r"^\|\s*([^|]+?)\s*\|\s*(.+?)\s*\|$", re.MULTILINE)


def code_of(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def prose_of(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def section(notebook: NotebookNode, heading: str) -> str:
    """The prose under one heading."""
    return prose_of(notebook).partition(f"## {heading}\n")[2].partition("\n## ")[0]


def nodes_of(notebook: NotebookNode) -> Iterator[ast.AST]:
    for source in code_of(notebook):
        yield from ast.walk(ast.parse(source))


def is_exercise(source: str) -> bool:
    return re.search(r"\bcheck_\w+\(", source) is not None


# ---- the rules


def headings_are_the_eight_in_order(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    found = [line[3:] for line in prose_of(notebook).splitlines() if line.startswith("## ")]
    if found != HEADINGS:
        yield f"the headings are {found}"


def prose_and_code_take_turns(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    in_a_row = 0
    for cell in notebook.cells:
        sentences = [line for line in cell.source.splitlines() if line.strip() and not line.startswith("#")]
        if cell.cell_type == "code":
            in_a_row += 1
        elif sentences:
            in_a_row = 0
        if in_a_row > MOST_CODE_CELLS:
            yield f"no sentence in the {in_a_row} code cells that end with {cell.source[:60]!r}"


def imports_fit_in_ten_lines(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    found = [node for node in nodes_of(notebook) if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = sum(node.end_lineno - node.lineno + 1 for node in found)
    if lines > MOST_IMPORTS:
        yield f"{lines} lines of imports"


def functions_are_short(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    for source in code_of(notebook):
        for node in ast.walk(ast.parse(source)) if not is_exercise(source) else ():
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST_DEF:
                yield f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def nothing_is_trained_or_plotted_here(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    for node in nodes_of(notebook):
        if isinstance(node, ast.While):
            yield "a while loop"
        if isinstance(node, ast.For) and re.search(
            r"\bsteps?\b", f"{ast.unparse(node.target)} {ast.unparse(node.iter)}"
        ):
            yield "a loop over steps"
        if isinstance(node, ast.Attribute) and (node.attr in TRAINING or ast.unparse(node) == "torch.optim"):
            yield f"a call of training: {ast.unparse(node)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)]
            if any(name.split(".")[0] in PLOTTING or ".optim" in name for name in names):
                yield f"an import of plots or optimisers: {ast.unparse(node)}"


def committed_stripped(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    for cell in notebook.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"an output or a count in {cell.source[:60]!r}"
    if extra := set(notebook.metadata) - {"kernelspec", "language_info"}:
        yield f"metadata: {', '.join(sorted(extra))}"


def parameters_are_tagged_typed_and_commented(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        yield f"{len(tagged)} cells are tagged `parameters`"
        return
    values = {}
    for line in tagged[0].source.splitlines():
        statement = ast.parse(line).body[0]
        if not isinstance(statement, ast.AnnAssign):
            yield f"{line!r} has no type"
            continue
        if "  # " not in line:
            yield f"{line!r} has no comment"
        values[statement.target.id] = ast.literal_eval(statement.value)
    for name in ("scale", "interactive"):
        if values.get(name, "absent") is not None:
            yield f"{name} is {values.get(name, 'absent')}; expected None"


def the_setup_has_a_drawing(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    found = DRAWING.search(section(notebook, "Setup"))
    if found is None:
        yield "no drawing of the form ![what it shows](name.svg) under Setup"
        return
    path = folder / found["file"]
    if not found["alt"].strip():
        yield f"{found['file']} has no alternative text"
    if not path.is_file():
        yield f"{found['file']} does not lie beside the notebook"
    elif ET.parse(path).getroot().tag.rpartition("}")[2] != "svg":
        yield f"{found['file']} is no SVG"


def the_setup_has_a_glossary(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    tables = [ROW.findall(part) for part in section(notebook, "Setup").split("\n\n")]
    rows = next((table for table in tables if table and table[0][0] == "term"), [])
    terms = [term for term, _ in rows]
    if not terms:
        yield "no table under Setup whose first column is called term"
    elif len(rows) < 4:  # the head, the rule below it, two terms
        yield "the glossary has fewer than two terms"
    elif doubled := {term for term in terms if terms.count(term) > 1}:
        yield f"the glossary has twice: {', '.join(sorted(doubled))}"


RULES = [
    headings_are_the_eight_in_order,
    prose_and_code_take_turns,
    imports_fit_in_ten_lines,
    functions_are_short,
    nothing_is_trained_or_plotted_here,
    committed_stripped,
    parameters_are_tagged_typed_and_commented,
    the_setup_has_a_drawing,
    the_setup_has_a_glossary,
]
