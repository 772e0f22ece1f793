"""What belongs to one subject of the lab: its folder of tests, its notebooks, and the rows of its experiments."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
SUBJECTS = sorted(path.parent.name for path in (PROJECT / "lablib").glob("*/experiments"))
FOLDERS = {"speed": ("speed", "kernels")}  # where it is more than the folder of that name


def notebooks_of(subject: str | None) -> list[Path]:
    """The notebooks that use a subject, in their order; all of them for None."""
    every = sorted((PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [path for path in every if subject is None or f"lablib.{subject}" in path.read_text()]


def belongs(item: pytest.Item, subject: str) -> bool:
    """Whether a test lies in the subject's folders, or is given one of its notebooks or experiments."""
    if item.path.relative_to(TESTS).parts[0] in FOLDERS.get(subject, (subject,)):
        return True
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    notebooks = notebooks_of(subject)
    if notebooks and "smoke_run" in item.fixturenames:
        return True
    of_it = lambda value: isinstance(value, str) and value.startswith(f"{subject}/")  # noqa: E731
    return any(of_it(value) or (isinstance(value, Path) and value in notebooks) for value in given)
