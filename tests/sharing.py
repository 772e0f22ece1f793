"""How two processes share the tests (`pytest -n 2`): a file stays in one, and what is slow comes first."""

import re
from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

# these use the one run of the real notebooks, so they stay together
NOTEBOOKS = ("app/test_offline.py", "test_interactive.py", "test_readme.py")
# every row computes something of its own: the smoke arms of an experiment, a photographed notebook
BY_ROW = re.compile(r"(?:test_every_experiment|browser/test_in_jupyterlab)\.py::.*\[([\w/]+)")

ALONE = "kernels/interpreted/"  # slow, and nothing is shared


def group(nodeid: str) -> str:
    """The name of those tests that share what takes time, and so run in one process."""
    place = nodeid.partition("::")[0]
    if ALONE in place:
        return nodeid
    if place.endswith(NOTEBOOKS):
        return "the notebooks"
    row = BY_ROW.search(nodeid)
    return f"{place}[{row[1]}]" if row else place


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests group by group: the notebooks, then all groups with a slow test in them, then the others."""
    slow = {group(item.nodeid) for item in items if item.get_closest_marker("slow")}
    first = {name: place for place, name in reversed(list(enumerate(group(item.nodeid) for item in items)))}

    def rank(item: pytest.Item) -> tuple[bool, bool, int]:
        name = group(item.nodeid)
        return name != "the notebooks", name not in slow, first[name]

    return sorted(items, key=rank)


class InGroups(LoadScopeScheduling):
    """Hands out whole groups, in the order in which they were collected."""

    def __init__(self, config, log=None):
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
