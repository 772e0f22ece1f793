"""The rules of the house: sizes, names, imports, pinned versions, and nothing of this machine in a file."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lablib.core.store import PROJECT

SOURCES = sorted(path for folder in ("lablib", "kernels") for path in (PROJECT / folder).rglob("*.py"))
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
MAX_FILE, MAX_FUNCTION = 300, 50
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def spell(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def committed() -> list[Path]:
    """The files that are, or would be, committed; without git all that a fresh archive holds."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return [PROJECT / name for name in names if name and (PROJECT / name).is_file()]
    hidden = {".venv", ".git", ".lab", "runs", "build", "__pycache__"}
    return [path for path in PROJECT.rglob("*") if path.is_file() and not hidden & set(path.parts)]


# ---- sizes and names


@pytest.mark.parametrize("path", SOURCES, ids=spell)
def test_a_file_and_its_functions_stay_within_their_line_budgets(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert not {name: lines for name, lines in long.items() if lines > MAX_FUNCTION}


def test_there_are_sources_to_check():
    assert len(SOURCES) > 30


def test_nothing_has_a_name_that_says_nothing():
    folders = [PROJECT / name for name in ("lablib", "kernels", "tests", "notebooks")]
    paths = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    assert not [spell(path) for path in paths if path.stem.removeprefix("test_") in NO_NAMES]


def test_every_source_opens_with_a_sentence_on_what_it_is():
    silent = [p for p in SOURCES if p.name != "__init__.py" and not ast.get_docstring(ast.parse(p.read_text()))]
    assert not [spell(path) for path in silent]


# ---- imports


def test_kernels_is_no_package_of_its_own():
    """A top-level package called `kernels` would hide the one that Hugging Face transformers imports."""
    assert not (PROJECT / "kernels" / "__init__.py").exists()


PACKAGES = [path for path in SOURCES if path.name == "__init__.py" and path.is_relative_to(PROJECT / "lablib")]


@pytest.mark.parametrize("path", PACKAGES, ids=spell)
def test_a_package_is_free_to_import(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not imports


def test_every_folder_of_the_library_is_a_package():
    folders = {path.parent for path in SOURCES if path.is_relative_to(PROJECT / "lablib")}
    assert not [spell(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_every_package_is_installed():
    """The list in pyproject.toml is written by hand, because `labkernels` lies in a folder of another name."""
    packages = {path.parent.relative_to(PROJECT).as_posix().replace("/", ".") for path in SOURCES if is_package(path)}
    expected = {"labkernels"} | {re.sub("^kernels", "labkernels", name) for name in packages}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == expected


def is_package(path: Path) -> bool:
    return path.name == "__init__.py"


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_the_kernels_know_nothing_of_the_library_and_the_library_knows_one_door_to_them():
    """Import contracts cannot say it: `labkernels` has no `__init__.py` at its top."""
    knowing = {spell(path) for path in SOURCES if "labkernels" in imported(path) and not is_kernel(path)}
    assert knowing <= {"lablib/ops/backend.py"}
    assert not [spell(path) for path in SOURCES if is_kernel(path) and "lablib" in imported(path)]


def is_kernel(path: Path) -> bool:
    return path.is_relative_to(PROJECT / "kernels")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts)


def test_pictures_are_drawn_without_torch():
    found = [(PROJECT / "lablib").glob(place) for place in ("*/figures/[!_]*.py", "*/figures.py", "viz/[!_]*.py")]
    names = [module_name(path) for paths in found for path in sorted(paths)]
    assert {"lablib.longcontext.figures.seesaw", "lablib.ttt.figures"} <= set(names)
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} imports torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *names], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- versions

REQUIRED = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines] for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
DIRECT = {requirement.name: requirement for group in (REQUIRED, *EXTRAS.values()) for requirement in group}


def pins() -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (PROJECT / "constraints.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_every_direct_dependency_is_pinned_exactly_once_and_nothing_else_is():
    names = [pin.name for pin in pins()]
    assert sorted(names) == sorted(DIRECT)


@pytest.mark.parametrize("pin", pins(), ids=lambda pin: pin.name)
def test_a_pin_is_one_version_that_the_project_allows(pin):
    (only,) = pin.specifier
    assert only.operator == "=="
    assert "*" not in only.version
    assert DIRECT[pin.name].specifier.contains(only.version)
    assert not pin.url, "a freeze leaks the paths of files"


def environment() -> dict:
    return yaml.safe_load((PROJECT / "environment.yml").read_text())


def test_the_conda_environment_installs_what_pip_does():
    found = environment()
    assert found["name"] == PYPROJECT["project"]["name"]
    assert found["channels"] == ["conda-forge", "nodefaults"]
    *plain, last = found["dependencies"]
    assert last == {"pip": ["-c constraints.txt", "-e .[lab,test]"]}
    assert sorted(Requirement(line.replace(" ", "")).name for line in plain) == ["pip", "python"]
    assert {"lab", "test"} <= EXTRAS.keys()


def test_the_conda_environment_has_a_python_that_the_project_allows():
    (python,) = (line for line in environment()["dependencies"] if str(line).startswith("python"))
    asked, allowed = (
        SpecifierSet(text) for text in (python.replace(" ", "")[6:], PYPROJECT["project"]["requires-python"])
    )
    assert asked == allowed


# ---- nothing of this machine


def leak(*places: Path) -> re.Pattern[bytes]:
    """Matches a path into one of the places; `/usr` and the like are on every machine and no leak."""
    usual = {Path("/"), Path("/usr"), Path("/usr/local"), Path("/tmp"), Path("/opt/conda")}
    inside = "|".join(sorted(re.escape(str(place)) for place in {*places} - usual))
    return re.compile(rf"(?<![\w.~-])(?:{inside})/[\w.]".encode())


HERE = (PROJECT, PROJECT.parent / "shared", Path.home(), Path(sys.prefix), Path(sys.base_prefix))


def test_no_file_holds_a_path_of_this_machine():
    pattern = leak(*HERE)
    found = {spell(path): match.group() for path in committed() if (match := pattern.search(path.read_bytes()))}
    assert not found
    assert len(committed()) > 50


def test_a_path_of_this_machine_would_be_found():
    pattern = leak(Path("/home/ada"), Path("/data/lab"))
    for text in ('"/home/ada/.cache"', "File /data/lab/x.py", "(/home/ada/x)", "file:///data/lab/y"):
        assert pattern.search(text.encode())
    for text in ('"/home/ada/"', "/home/adam/x", "/more/data/lab/x", "the folder data/lab/x"):
        assert not pattern.search(text.encode())
    assert leak(*HERE).search(str(PROJECT / "lablib").encode())
