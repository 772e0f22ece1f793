"""What no run of the interpreter can see is read from the sources of the kernels."""

import ast
from pathlib import Path

import pytest

from lablib.core.store import PROJECT

SOURCES = sorted((PROJECT / "kernels").rglob("*.py"))


def calls(source: str, name: str) -> list[ast.Call]:
    """Calls of `tl.<name>`."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"tl.{name}"
    ]


def undefined_loads(source: str) -> list[int]:
    """Lines of masked loads without `other`: the interpreter reads 0 there, a GPU anything."""
    found = ((load.lineno, {word.arg for word in load.keywords}) for load in calls(source, "load"))
    return [line for line, words in found if "mask" in words and "other" not in words]


def rounded_products(source: str) -> list[int]:
    """Lines of products that do not say in which precision: on a GPU fp32 would silently be rounded to tf32."""
    found = ((dot.lineno, {word.arg for word in dot.keywords}) for dot in calls(source, "dot"))
    return [line for line, words in found if not {"out_dtype", "input_precision"} <= words]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_masked_loads_have_a_value_and_products_a_precision(path: Path):
    source = path.read_text()
    assert not undefined_loads(source)
    assert not rounded_products(source)
    assert "make_block_ptr" not in source, "block pointers are gone from Triton 3.9"


def test_a_missing_value_and_a_missing_precision_are_seen():
    assert undefined_loads("a = tl.load(p, mask=m)\nb = tl.load(p, mask=m, other=0.0)\nc = tl.load(p)") == [1]
    assert undefined_loads("a = tl.load(p, mask=m) + tl.load(q, mask=m, other=0.0)") == [1]
    assert rounded_products("a = tl.dot(p, q)") == [1]


def test_planted_in_a_kernel_it_is_seen():
    source = (PROJECT / "kernels" / "swa" / "forward.py").read_text()
    assert undefined_loads(source.replace("mask=inside, other=0.0", "mask=inside"))
