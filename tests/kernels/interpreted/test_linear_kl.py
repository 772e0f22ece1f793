"""The distillation loss by Triton against its definition: value, both gradients, what is kept."""

from functools import partial

import pytest
import torch
from conftest import with_margins
from definitions import FARTHEST, errors, pairwise

from labkernels.distillation import op
from labkernels.runtime import Tiles
from lablib.ops.divergences import forward_kl
from lablib.ops.linear_divergence import naive_linear_divergence

FACTORS = {
    "tokens": (33, 48),
    "vocab": (35, 64),
    "widths": ((32, 48), (48, 16), (20, 33)),  # 20 and 33: rows that are made longer by zeros
    "temperature": (1.0, 0.7, 3.0),
    "tiles": ((16, 16), (32, 16), (16, 32)),
    "block": (16, 32),
    "dtype": (torch.float32, torch.float16),
}
# tokens, vocabulary, widths, temperature, tiles of tokens and vocabulary, block of the widths, type
CASES = {
    "one token": (1, 20, (16, 16), 1.0, (16, 16), 16, torch.float32),
    "a vocabulary of one": (5, 1, (16, 16), 1.0, (16, 16), 16, torch.float32),
    "a width of one": (5, 7, (1, 3), 1.0, (16, 16), 16, torch.float32),
} | {f"pairs {i}": tuple(case.values()) for i, case in enumerate(pairwise(FACTORS))}


def draw(tokens, vocab, width, its_width, dtype, below=0.0):
    """The operands, in buffers of NaN; every third token has no weight. `below` is taken from all logits."""
    generator = torch.Generator().manual_seed(tokens + vocab)
    shapes = (tokens, width), (vocab, width), (tokens, its_width), (vocab, its_width)
    matrices = [torch.randn(shape, generator=generator, dtype=torch.float64) * shape[1] ** -0.25 for shape in shapes]
    if below:
        for hidden, head in (matrices[:2], matrices[2:]):
            hidden[:, 0], head[:, 0] = below, -1.0
    weight = torch.rand(tokens, generator=generator)
    weight[1::3] = 0
    return [with_margins(x.to(dtype)) for x in matrices] + [with_margins(weight)]


def errors_of(operands, temperature=1.0):
    """Relative errors of the loss, of the gradients of hidden and head; times the tokens, so that none is tiny."""
    (hidden, head), constants = operands[:2], operands[2:]
    exact = [x.double() for x in constants]
    kind = partial(forward_kl, temperature=temperature)
    return errors(
        lambda h, v: len(h) * op.linear_kl(h, v, *constants, temperature=temperature),
        lambda h, v: len(h) * naive_linear_divergence(h, v, *exact, kind),
        (hidden, head),
    )


@pytest.fixture
def cut(monkeypatch):
    """Cut all kernels into tiles of some size, and the widths into blocks."""

    def to(tokens: int = 16, vocab: int = 16, block: int = 16) -> None:
        monkeypatch.setattr(op, "fitting", lambda *_: Tiles(tokens, vocab))
        monkeypatch.setattr(op, "block", lambda *_: block)

    return to


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_loss_and_gradients_are_those_of_the_definition(case, cut):
    tokens, vocab, widths, temperature, tiles, block, dtype = case
    cut(*tiles, block)
    assert max(errors_of(draw(tokens, vocab, *widths, dtype), temperature)) < FARTHEST[dtype]


@pytest.mark.parametrize("width", [50, 272])
def test_so_are_they_with_the_tiles_of_production(width):
    """At the larger width there are two blocks, the second with 16 numbers."""
    assert max(errors_of(draw(70, 150, width, 100, torch.float32))) < FARTHEST[torch.float32]


@pytest.mark.parametrize(
    ("student", "teacher", "below"), [(1, 200, 0), (200, 1, 0), (50, 200, 0), (1, 1, 500)],
    ids=["a sure teacher", "a sure student", "both sure", "all logits far below 0"],
)  # fmt: skip
def test_extreme_logits_give_the_same(student, teacher, below, cut):
    cut()
    hidden, head, its_hidden, its_head, weight = draw(21, 35, 16, 32, torch.float32, below)
    assert max(errors_of([hidden, student * head, its_hidden, teacher * its_head, weight])) < 1e-4


def test_gradients_are_finite_differences(cut):
    cut()
    hidden, head, *constants = draw(20, 19, 32, 16, torch.float64)
    loss = partial(op.linear_kl, temperature=1.5)
    inputs = hidden.requires_grad_(), head.requires_grad_()
    assert torch.autograd.gradcheck(lambda h, v: loss(h, v, *constants), inputs, fast_mode=True)


def test_a_teacher_of_itself_is_at_no_distance_and_pulls_nowhere(cut):
    cut()
    hidden, head, *_, weight = draw(21, 35, 16, 16, torch.float32)
    own = hidden.requires_grad_(), head.requires_grad_()
    loss = op.linear_kl(*own, hidden, head, weight)
    loss.backward()
    assert loss == 0
    assert not any(x.grad.any() for x in own)


def test_strides_are_followed(cut):
    """A part of longer rows, rows that are columns, every second row; NaN between them."""
    cut()
    *_, its_head, weight = draw(21, 35, 16, 16, torch.float32)
    generator = torch.Generator().manual_seed(0)
    longer, columns, every = (torch.randn(shape, generator=generator) for shape in ((21, 48), (16, 35), (42, 16)))
    longer[:, :16] = longer[:, 32:] = every[1::2] = torch.nan
    operands = [longer[:, 16:32], columns.mT, every[::2], its_head, weight]
    assert not any(x.is_contiguous() for x in operands[:3])
    assert max(errors_of(operands)) < FARTHEST[torch.float32]
    operands[0] = torch.randn(21, 19, generator=generator)[:, :16]  # rows that begin where none can be read whole
    assert max(errors_of(operands)) < FARTHEST[torch.float32]


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_side_costs_nothing(frozen, cut, allocations):
    cut()
    operands = draw(21, 35, 16, 16, torch.float32)
    learnt = operands[1 - frozen].requires_grad_()
    loss = op.linear_kl(*operands)
    made = len(allocations.buffers)
    loss.backward()
    assert len(allocations.buffers) == made + 1
    assert learnt.grad.isfinite().all()


def test_three_numbers_a_token_are_kept_beside_the_operands(cut):
    cut()
    operands = draw(21, 35, 16, 16, torch.float32)
    kept = op.linear_kl(operands[0].requires_grad_(), *operands[1:]).grad_fn.saved_tensors
    fresh = [x for x in kept if x.data_ptr() not in [operand.data_ptr() for operand in operands]]
    assert [tuple(x.shape) for x in fresh] == [(21,), (21,)]
    assert len(kept) == len(operands) + len(fresh)


def test_small_weights_and_small_gradients_above_do_not_vanish_in_16_bits(cut):
    cut()
    *matrices, weight = draw(21, 35, 16, 16, torch.float16)
    own = [x.requires_grad_() for x in matrices[:2]]
    small = torch.autograd.grad(2**20 * op.linear_kl(*matrices, 1e-6 * weight), own)
    right = torch.autograd.grad(2**20 * op.linear_kl(*matrices, weight), own)
    for found, expected in zip(small, right, strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=2e-3)


def test_a_second_derivative_raises_instead_of_going_missing():
    hidden, head, *constants = draw(8, 9, 16, 16, torch.float32)
    own = hidden.requires_grad_(), head.requires_grad_()
    (first,) = torch.autograd.grad(op.linear_kl(*own, *constants), own[0], create_graph=True)
    for other in own:
        with pytest.raises(NotImplementedError, match="backend 'plain'"):
            torch.autograd.grad(first.sum(), other, retain_graph=True)


def test_weights_without_a_sum_and_bfloat16_are_refused():
    operands = draw(8, 9, 16, 16, torch.float32)
    with pytest.raises(ValueError, match="distillation loss: the weights sum to 0"):
        op.linear_kl(*operands[:4], 0 * operands[4])
    with pytest.raises(ValueError, match="interpreter computes bfloat16 wrongly"):
        op.linear_kl(*(x.bfloat16() for x in operands))
