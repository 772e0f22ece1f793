"""The parameters cell of a notebook: names, types and comments, and text from the command line read by type."""

import ast
import dataclasses
import io
import tokenize
from typing import Any

from lablib.app.errors import BadInput

EXAMPLE = "`seed: int = 0  # what it is`"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: `name: kind = default  # comment`."""

    name: str
    kind: ast.expr | None  # the annotation; None where the author wrote none
    default: Any  # the literal, or None where the default is not a literal
    comment: str

    @property
    def spelled(self) -> str:
        """The type as the author wrote it, or that of the default."""
        return ast.unparse(self.kind) if self.kind is not None else type(self.default).__name__

    def read(self, text: str) -> Any:
        """The value that `text` stands for in this parameter's type; BadInput where it stands for none."""
        kind = self.kind
        if kind is None and self.default is not None:
            kind = ast.Name(id=type(self.default).__name__)
        try:
            if kind is None:
                raise BadInput(f"parameter {self.name} has no type; write it in the parameters cell as {EXAMPLE}")
            return _read(text, kind)
        except (ValueError, SyntaxError) as error:
            if isinstance(error, BadInput):
                raise
            note = f" ({self.comment})" if self.comment else ""
            raise BadInput(f"{self.name}={text} does not fit; {self.name} is {self.spelled}{note}") from None


def declared(source: str) -> dict[str, Parameter]:
    """The parameters that a cell declares, in its order; SyntaxError where the cell is not plain Python."""
    comments = _comments(source)
    found = {}
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                kind = None
            case _:
                continue
        found[name] = Parameter(name, kind, _literal(value), comments.get(node.end_lineno or node.lineno, ""))
    return found


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, SyntaxError):
        return None


def _read(text: str, kind: ast.expr) -> Any:
    match kind:
        case ast.Constant(value=None):
            return _one_of(text, {"None": None, "none": None, "null": None})
        case ast.Constant(value=str(quoted)):
            return _read(text, ast.parse(quoted, mode="eval").body)
        case ast.BinOp(op=ast.BitOr()):
            return _first(text, sorted(_members(kind), key=_strictness))
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _first(text, [ast.Constant(value=None), inner])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            choices = [ast.literal_eval(item) for item in getattr(inner, "elts", [inner])]
            return _one_of(text, {str(value): value for value in choices})
        case ast.Subscript(value=ast.Name(id="list" | "tuple" as outer), slice=inner):
            return _sequence(text, outer, inner)
        case ast.Name(id="list" | "tuple" as outer):
            return _sequence(text, outer, None)
        case ast.Name(id="bool"):
            return _one_of(text.lower(), {"true": True, "yes": True, "on": True, "1": True} | _FALSE)
        case ast.Name(id="int"):
            return int(text)
        case ast.Name(id="float"):
            return float(text)
        case ast.Name(id="str"):
            return text
    raise ValueError(f"the lab cannot read the type {ast.unparse(kind)}")


_FALSE = {"false": False, "no": False, "off": False, "0": False}


def _members(kind: ast.expr) -> list[ast.expr]:
    match kind:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _members(left) + _members(right)
    return [kind]


def _strictness(kind: ast.expr) -> int:
    """Text fits `str` always and `float` often: of a union the narrow types are tried first."""
    return {"str": 3, "bool": 2, "float": 1}.get(ast.unparse(kind), 0)


def _first(text: str, kinds: list[ast.expr]) -> Any:
    for kind in kinds:
        try:
            return _read(text, kind)
        except (ValueError, SyntaxError):
            continue
    raise ValueError(text)


def _one_of(text: str, choices: dict[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(text)
    return choices[text]


def _sequence(text: str, outer: str, inner: ast.expr | None) -> Any:
    """`[1, 2]`, `(1, 2)` or `1,2`; a tuple stays a tuple only in the notebook's eyes, as JSON knows lists."""
    bare = text.strip()
    items = ast.literal_eval(bare if bare[:1] in ("[", "(") else f"[{bare}]")
    if not isinstance(items, list | tuple):
        raise ValueError(text)
    if inner is None:
        return list(items)
    kinds = [part for part in (inner.elts if isinstance(inner, ast.Tuple) else [inner]) if ast.unparse(part) != "..."]
    if outer == "tuple" and isinstance(inner, ast.Tuple) and ast.unparse(inner.elts[-1]) != "...":
        if len(kinds) != len(items):
            raise ValueError(text)
        return [_read(str(item), kind) for item, kind in zip(items, kinds, strict=True)]
    return [_read(str(item), kinds[0]) for item in items]
