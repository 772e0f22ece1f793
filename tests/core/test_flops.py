"""FLOPs are those of the closed forms, forward and backward, whatever kernel computes them."""

from math import prod

import pytest
import torch
import torch.nn.functional as F

from lablib.core.measure import count_flops
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.recurrent import ShortConvolution
from lablib.ops import backend
from lablib.ops.attention import attention_reference, full_attention, sliding_window_attention

SYSTEM = 2 * 5 * 5 * 7  # two systems of five equations with seven right-hand sides


def made(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


def system(*shape: int) -> torch.Tensor:
    return (torch.rand(*shape, 5, 5).tril() + 5 * torch.eye(5)).requires_grad_()


def solve(a, b, **options):
    return torch.linalg.solve_triangular(a, b, **{"upper": False, **options})


PRODUCTS = {  # operation, operands, multiply-adds
    "@": (torch.matmul, [(3, 5), (5, 7)], 3 * 5 * 7),
    "batched": (torch.bmm, [(2, 3, 5), (2, 5, 7)], 2 * 3 * 5 * 7),
    "broadcast": (torch.matmul, [(4, 1, 3, 5), (2, 5, 7)], 4 * 2 * 3 * 5 * 7),
    "added": (torch.addmm, [(3, 7), (3, 5), (5, 7)], 3 * 5 * 7),
    "batched and added": (torch.baddbmm, [(2, 3, 7), (2, 3, 5), (2, 5, 7)], 2 * 3 * 5 * 7),
    "batched and summed": (torch.addbmm, [(3, 7), (2, 3, 5), (2, 5, 7)], 2 * 3 * 5 * 7),
    "einsum": (lambda a, b: torch.einsum("bhtd,hcd->bhtc", a, b), [(2, 3, 4, 5), (3, 6, 5)], 2 * 3 * 4 * 5 * 6),
    "linear": (F.linear, [(2, 3, 5), (7, 5), (7,)], 2 * 3 * 5 * 7),
}


@pytest.mark.parametrize(("call", "shapes", "multiply_adds"), PRODUCTS.values(), ids=PRODUCTS)
def test_a_product_counts_two_a_multiply_add_and_twice_that_backward(call, shapes, multiply_adds):
    operands = [made(*shape) for shape in shapes]
    assert count_flops(lambda: call(*operands)) == 2 * multiply_adds
    assert count_flops(lambda: call(*operands).sum().backward()) == 6 * multiply_adds
    with torch.inference_mode():
        assert count_flops(lambda: call(*operands)) == 2 * multiply_adds


@pytest.mark.parametrize(
    ("call", "flops"),
    [
        (lambda a, v: a @ v, 2 * 15),
        (lambda a, v: v @ a.mT, 2 * 15),
        (lambda a, v: torch.addmv(a[:, 0], a, v), 2 * 15),
        (lambda a, v: torch.einsum("ij,j->i", a, v), 2 * 15),
        (lambda a, v: v @ v, 2 * 5),
        (lambda a, v: torch.vdot(v, v), 2 * 5),
    ],
)
def test_vectors_count_too(call, flops):
    assert count_flops(lambda: call(made(3, 5), made(5))) == flops


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (2, 1)])
def test_a_convolution_counts_its_weights_at_each_place(groups, stride, padding):
    x, kernel = made(2, 6, 20), made(12, 6 // groups, 4)
    how = {"stride": stride, "padding": padding, "groups": groups}
    places = (20 + 2 * padding - 4) // stride + 1
    forward = 2 * 2 * places * 12 * (6 // groups) * 4
    assert count_flops(lambda: F.conv1d(x, kernel, **how)) == forward
    assert count_flops(lambda: F.conv1d(x, kernel, **how).sum().backward()) == 3 * forward
    assert count_flops(lambda: F.conv1d(x.detach(), kernel, **how).sum().backward()) == 2 * forward, "no input's"


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("shape", [(10,), (5, 4), (3, 4, 5)], ids=["1d", "2d", "3d"])
def test_a_transposed_convolution_counts_its_weights_at_each_place_of_the_input(groups, shape):
    sides = [3] * len(shape)
    call = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][len(shape) - 1]
    x, kernel = made(2, 6, *shape), made(6, 9 // groups, *sides)
    forward = 2 * 2 * prod(shape) * 6 * (9 // groups) * prod(sides)
    assert count_flops(lambda: call(x, kernel, stride=2, groups=groups).sum().backward()) == 3 * forward


def test_a_short_convolution_forward_and_backward():
    convolution, x = ShortConvolution(160), made(2, 64, 160)
    assert count_flops(lambda: convolution(x, None)[0].sum().backward()) == 3 * 2 * 2 * 64 * 160 * 4 == 491_520


@pytest.mark.parametrize("unitriangular", [False, True])
def test_a_triangular_system_counts_the_square_of_its_size_a_right_hand_side(unitriangular):
    a, b, row, how = system(2), made(2, 5, 7), made(2, 7, 5), {"unitriangular": unitriangular}
    assert count_flops(lambda: solve(a, b, **how)) == SYSTEM
    assert count_flops(lambda: solve(a.mT, row, upper=True, left=False, **how)) == SYSTEM
    assert count_flops(lambda: solve(system(), b, **how)) == SYSTEM, "one matrix for both"
    assert count_flops(lambda: solve(system(2, 1), made(3, 5, 7), **how)) == 3 * SYSTEM
    product = 2 * SYSTEM  # of the gradient of the right-hand side and the solution, for that of the matrix
    assert count_flops(lambda: solve(a, b, **how).sum().backward()) == SYSTEM + SYSTEM + product
    assert count_flops(lambda: solve(a.detach(), b, **how).sum().backward()) == SYSTEM + SYSTEM


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_counts_the_same_fused_or_not(kv_heads):
    def attend(call, *options):
        q, k, v = (made(2, heads, 12, 8) for heads in (4, kv_heads, kv_heads))
        forward = count_flops(lambda: call(q, k, v, *options))
        return forward, count_flops(lambda: call(q, k, v, *options).sum().backward())

    once = 2 * (2 * 2 * 4 * 12 * 12 * 8)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    assert attend(full_attention) == attend(attention_reference, mask) == (once, 3 * once)
    with backend.using("plain"):
        assert attend(full_attention) == (once, 3 * once)


def test_a_window_counts_its_blocks_as_they_are_written():
    """Blocks of 8 queries read 8 + window - 1 keys, the last block padded, whatever the mask hides."""
    q = made(2, 4, 30, 8)
    forward = 2 * 2 * (2 * 4 * 4) * 8 * (8 + 5 - 1) * 8
    assert count_flops(lambda: sliding_window_attention(q, q, q, 5).sum().backward()) == 3 * forward


def model_flops(plan: str, length: int = 96) -> tuple[int, int]:
    """Of a forward pass, and of what comes on top of it in a training step."""
    model = LanguageModel(ModelConfig(plan=plan, vocab=16, width=32, num_heads=2, window=8, chunk=16))
    tokens = torch.randint(16, (2, length))
    forward = count_flops(lambda: model(tokens))
    return forward, count_flops(lambda: model(tokens).sum().backward()) - forward


@pytest.mark.parametrize("plan", ["mlp", "full", "swa", "mamba2", "swa+prime", "swa memory hsa+swa"])
def test_the_backward_pass_of_a_model_counts_twice_the_forward(plan):
    forward, backward = model_flops(plan)
    assert backward == 2 * forward


def test_that_of_the_delta_rule_by_its_systems_and_by_the_states_that_nobody_needs():
    forward, backward = model_flops("delta")
    heads, chunks, size, dim = 2 * 2, 96 // 16, 16, 16
    systems = heads * chunks * size * size * 2 * dim  # one more than twice: its backward is a system and a product
    unneeded = heads * 2 * (2 * 2 * size * dim * dim)  # two products with the first state, one (twice) into the last
    assert backward == 2 * forward + systems - unneeded


def test_that_of_binding_is_at_most_twice_as_its_last_step_is_read_by_nobody():
    forward, backward = model_flops("kvb")
    assert 1.7 * forward < backward < 2 * forward


UNKNOWN = {
    "transform": torch.fft.fft,
    "solve": lambda a: torch.linalg.solve(a, a),
    "inverse": torch.linalg.inv,
    "pseudo-inverse": torch.linalg.pinv,
    "decomposition": torch.linalg.qr,
    "recurrent": torch.nn.LSTM(5, 5),
}


@pytest.mark.parametrize("call", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_counted_is_refused_and_not_counted_as_nothing(call):
    with pytest.raises(ValueError, match=r"FLOPs of torch\.ops\.aten\.\w+ are not known; give its formula in lablib"):
        count_flops(lambda: call(system().detach()))
