"""The parameters cell of a notebook: names, types and comments, and text from the command line read by type."""

import ast
import contextlib
import dataclasses
import io
import tokenize
from types import NoneType, UnionType
from typing import Any, Literal, Optional, Union, get_args, get_origin

from lablib.app.errors import BadInput

EXAMPLE = "`seed: int = 0  # what it is`"
_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, tuple)}
_TYPES |= {"Literal": Literal, "Optional": Optional, "Union": Union}
_BOOLS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_MISFITS = (ValueError, SyntaxError, KeyError, TypeError, NameError)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: `name: spelled = default  # comment`."""

    name: str
    spelled: str  # the type as the author wrote it, else that of the default, else empty
    default: Any  # the literal, or None where the default is not a literal
    comment: str

    def read(self, text: str) -> Any:
        """The value that `text` stands for in this parameter's type; BadInput where it stands for none."""
        if not self.spelled:
            raise BadInput(f"parameter {self.name} has no type; write it in the parameters cell as {EXAMPLE}")
        try:
            return _read(text, _type(self.spelled))
        except _MISFITS:
            note = f" ({self.comment})" if self.comment else ""
            raise BadInput(f"{self.name}={text} does not fit; {self.name} is {self.spelled}{note}") from None


def declared(source: str) -> dict[str, Parameter]:
    """The parameters that a cell declares, in its order; SyntaxError where the cell is not plain Python."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {}
    body = ast.parse(source).body
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    for node in body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value):
                spelled = ast.unparse(kind)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                spelled = ""
            case _:
                continue
        default = None
        with contextlib.suppress(*_MISFITS):
            default = ast.literal_eval(value)
        spelled = spelled or ("" if default is None else type(default).__name__)
        found[name] = Parameter(name, spelled, default, comments.get(node.end_lineno or node.lineno, ""))
    return found


def _type(spelled: str) -> Any:
    """The type that an annotation names, also one in quotes; NameError for one that the lab cannot read."""
    kind = eval(spelled, {"__builtins__": {}}, _TYPES)
    return _type(kind) if isinstance(kind, str) else kind


def _read(text: str, kind: Any) -> Any:
    outer, inner = get_origin(kind) or kind, get_args(kind)
    if outer in (Union, UnionType):
        # the narrowest type first: text fits `str` always and `float` often
        for one in sorted(inner, key=lambda one: {str: 3, bool: 2, float: 1}.get(one, 0)):
            with contextlib.suppress(*_MISFITS):
                return _read(text, one)
        raise ValueError(text)
    if outer is Literal:
        return {str(value): value for value in inner}[text]
    if outer in (list, tuple):  # `[1, 2]`, `(1, 2)` or `1,2`; a tuple is a list here, as JSON knows no other
        bare = text.strip()
        items = list(ast.literal_eval(bare if bare[:1] in ("[", "(") else f"[{bare}]"))
        kinds = inner[:1] * len(items) if outer is list or inner[-1:] == (...,) else inner
        return [_read(str(item), one) for item, one in zip(items, kinds, strict=True)] if inner else items
    if outer in (None, NoneType):
        return {"None": None, "none": None, "null": None}[text]
    return _BOOLS[text.lower()] if outer is bool else {int: int, float: float, str: str}[outer](text)
