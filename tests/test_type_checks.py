"""The types that `make test` checks: a wrong call is refused in jaxtyping's own words, and a right one passes."""

import dataclasses
import inspect
from collections.abc import Iterator

import pytest
import torch
import type_checks
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor

checked = type_checks.checked(typechecker=beartype)


@checked
def whole(number: int) -> int:
    return number if number < 9 else str(number)


@checked
def outer(a: Float[Tensor, " n"], b: Float[Tensor, " m"], *, wrong: int = 0) -> Float[Tensor, "n m"]:
    return torch.ones(len(a), len(b) + wrong)


@checked
def added(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return outer(a, torch.ones(len(a) + 1))[:, 0] + b  # another n and m of its own


@checked
def cut(a: Float[Tensor, " n"], size: int, wrong: int = 0) -> Float[Tensor, "chunk {size}"]:
    return a.reshape(-1, size + wrong)


@checked
def counted(until: int) -> Iterator[int]:
    yield from range(until)


@checked
def of_a_class_to_come(value: "Later") -> int:  # noqa: F821
    return 1


@checked
@dataclasses.dataclass(frozen=True)
class Sized:
    size: int
    rows: Float[Tensor, "n n"] | None = None

    @checked
    def times(self, factor: int) -> int:
        return self.size * factor


A, B = torch.ones(2), torch.ones(3)
RIGHT = {
    "a number": (lambda: whole(3), 3),
    "one size a name": (lambda: added(A, A).shape, (2,)),
    "other sizes in the next call": (lambda: added(B, B).shape, (3,)),
    "a size that is an argument": (lambda: cut(torch.ones(6), 3).shape, (2, 3)),
    "a generator": (lambda: list(counted(3)), [0, 1, 2]),
    "a class that is still to be made": (lambda: of_a_class_to_come(1), 1),
    "a field": (lambda: Sized(2, torch.ones(3, 3)).times(3), 6),
}
WRONG = {
    "an argument of another type": (lambda: whole("3"), "parameters of .*whole"),
    "an argument by its name": (lambda: whole(number=None), "parameters of .*whole"),
    "a result of another type": (lambda: whole(9), "return value of .*whole"),
    "two sizes of one name": (lambda: added(A, B), "parameters of .*added"),
    "a result of another size": (lambda: outer(A, B, wrong=1), "return value of .*outer"),
    "no array": (lambda: added([1.0], A), "parameters of .*added"),
    "an array of whole numbers": (lambda: added(A.long(), A), "parameters of .*added"),
    "another size than the argument": (lambda: cut(torch.ones(6), 2, 1), "return value of .*cut"),
    "what goes into a generator": (lambda: counted("3"), "parameters of .*counted"),
    "a field of another type": (lambda: Sized("2"), "parameters of .*Sized.*"),
    "a field of another shape": (lambda: Sized(2, torch.ones(3, 2)), "parameters of .*Sized.*"),
    "an argument of a method": (lambda: Sized(2).times(0.5), "parameters of .*times"),
    "a replaced field": (lambda: dataclasses.replace(Sized(2), size=None), "parameters of .*Sized.*"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_call_passes(name):
    call, expected = RIGHT[name]
    assert call() == expected


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_refused_and_says_which_part_of_it(name):
    call, words = WRONG[name]
    with pytest.raises(TypeCheckError, match=f"(?s)Type-check error whilst checking the {words}"):
        call()


def test_what_a_function_raises_itself_comes_through_and_it_is_called_once():
    calls = []

    @checked
    def fails(number: int) -> int:
        calls.append(number)
        raise TypeError("its own")

    with pytest.raises(TypeError, match=r"^its own$"):
        fails(1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'number'"):
        fails()
    assert calls == [1]


def test_a_function_keeps_its_name_and_signature():
    assert (outer.__name__, list(inspect.signature(outer).parameters)) == ("outer", ["a", "b", "wrong"])


def test_the_code_of_the_lab_is_checked_here(request):
    """Where the import hook is on, as in `make test`: a function of the lab, a method, and a dataclass."""
    if not request.config.getoption("jaxtyping_packages", None):
        pytest.skip("types are not checked in this run")
    from lablib.core.config import Config, resolve_scale
    from lablib.core.store import Arm
    from lablib.ops.ssd import in_chunks

    refused = [lambda: resolve_scale(3), lambda: Config().replace.__func__(3), lambda: Config.at(3)]
    refused += [lambda: in_chunks(torch.ones(2, 3), 1), lambda: Arm(**dict.fromkeys(Arm.__annotations__, 3))]
    for call in refused:
        with pytest.raises(TypeCheckError):
            call()
