"""Gate 2: the interpreter. Outputs are poisoned, and every tensor has margins that must stay as they were."""

import sys
import warnings

import pytest

assert "triton" not in sys.modules, "triton was imported before the interpreter could be chosen"

import torch  # noqa: E402

warnings.filterwarnings("ignore", message="Conversion of an array", category=DeprecationWarning)

MARGIN = 1024  # elements: a whole tile beyond the end stays inside
KEPT = 123  # in the margins of an output: a kernel that writes there, be it NaN, is seen


def with_margins(tensor: torch.Tensor) -> torch.Tensor:
    """The same values inside a larger buffer of NaN (of -7 for integers): reads beyond the ends are seen."""
    filler = torch.nan if tensor.is_floating_point() else -7
    buffer = torch.full((tensor.numel() + 2 * MARGIN,), filler, dtype=tensor.dtype)
    inner = buffer[MARGIN : MARGIN + tensor.numel()].view(tensor.shape)
    inner.copy_(tensor)
    return inner


class Allocations:
    """Takes the place of torch.empty, torch.empty_like and torch.zeros: margins that are looked at in the end.

    What is empty is poisoned.
    """

    def __init__(self):
        self.buffers: list[torch.Tensor] = []

    def __call__(self, *shape, dtype=None, device=None, **_) -> torch.Tensor:
        shape = torch.Size(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else torch.Size(shape)
        dtype = dtype or torch.get_default_dtype()
        buffer = torch.full((shape.numel() + 2 * MARGIN,), KEPT, dtype=dtype)
        self.buffers.append(buffer)
        inner = buffer[MARGIN : MARGIN + shape.numel()].view(shape)
        return inner.fill_(torch.nan if dtype.is_floating_point else -7)

    def like(self, tensor: torch.Tensor, *, dtype=None, **_) -> torch.Tensor:
        return self(tensor.shape, dtype=dtype or tensor.dtype)

    def zeros(self, *shape, **how) -> torch.Tensor:
        return self(*shape, **how).zero_()

    def check(self) -> None:
        for buffer in self.buffers:
            for margin in (buffer[:MARGIN], buffer[-MARGIN:]):
                assert (margin == KEPT).all(), "a kernel wrote outside its output"


@pytest.fixture(autouse=True)
def allocations(monkeypatch):
    """Outputs that no kernel has written are NaN, and nothing is written beside them."""
    made = Allocations()
    monkeypatch.setattr(torch, "empty", made)
    monkeypatch.setattr(torch, "empty_like", made.like)
    monkeypatch.setattr(torch, "zeros", made.zeros)
    yield made
    made.check()
