"""Gate 4, where there is a GPU: kernels in 16 bits are as near to the truth as torch is in the same type.

The rule is flash-attention's: the largest error at most twice that of torch on the same operands (three times for
gradients), plus 1e-5. Smallest and largest operands are among the cases, and all tiles.
"""

from functools import partial

import pytest
import torch

from labkernels.distillation.op import linear_kl
from labkernels.hsa.op import hierarchical_attention
from labkernels.hsa.select import select_chunks
from labkernels.swa.op import sliding_window_attention
from lablib.ops import attention, backend, hsa
from lablib.ops.attention import attention_reference, window_mask
from lablib.ops.divergences import forward_kl
from lablib.ops.linear_divergence import naive_linear_divergence

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU (gate 4)")
types = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
TIMES_OUTPUT, TIMES_GRADIENT, SLACK = 2.0, 3.0, 1e-5


def randn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cuda").to(dtype)


def with_gradients(function, inputs, upstream):
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(*inputs)
    return out, *torch.autograd.grad(out, inputs, upstream.to(out.dtype))


def check(kernel, plain, inputs, upstream):
    """`plain` is torch's, run in the inputs' type and in double precision."""
    upstream = upstream.to(inputs[0].dtype)  # rounded for the truth too: it is no error of anybody's
    exact = with_gradients(plain, [x.double() for x in inputs], upstream)
    mine, theirs = with_gradients(kernel, inputs, upstream), with_gradients(plain, inputs, upstream)
    for i, (a, b, truth) in enumerate(zip(mine, theirs, exact, strict=True)):
        allowed = (TIMES_GRADIENT if i else TIMES_OUTPUT) * (b - truth).abs().max() + SLACK
        assert (a - truth).abs().max() <= allowed, f"output {i}"


@types
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "window", "sinks", "time"),
    [
        (4, 4, 64, 512, 0, 1500),
        (8, 2, 128, 100, 0, 1500),
        (2, 1, 256, 64, 0, 1500),
        (2, 2, 16, 1, 0, 333),
        (2, 1, 32, 700, 0, 700),
        (2, 2, 64, 9, 0, 13),
        (4, 2, 64, 128, 4, 1500),
        (2, 1, 128, 100, 300, 1500),
    ],
)
def test_the_window(dtype, heads, kv_heads, dim, window, sinks, time):
    q = randn(2, heads, time, dim, dtype=dtype)
    k, v = (randn(2, kv_heads, time, dim, dtype=dtype, seed=seed) for seed in (1, 2))
    mask = window_mask(time, window, q.device, sinks=sinks)
    check(
        lambda q, k, v: sliding_window_attention(q, k, v, window, sinks=sinks),
        lambda q, k, v: attention_reference(q, k, v, mask),
        (q, k, v),
        randn(2, heads, time, dim, seed=3),
    )


@types
@pytest.mark.parametrize("order", ["queries", "chunks"])
@pytest.mark.parametrize(
    ("group", "dim", "size", "slots"),
    [
        (1, 64, 64, 8),
        (4, 128, 64, 8),
        (16, 64, 32, 16),
        (1, 128, 128, 4),
        (64, 64, 64, 8),
        (2, 16, 16, 1),
        (3, 32, 16, 64),
    ],
)
def test_chosen_chunks(dtype, order, group, dim, size, slots):
    time = 1000
    q = randn(1, 2, group, time, dim, dtype=dtype)
    k, v = (randn(1, 2, time // size, size, dim, dtype=dtype, seed=seed) for seed in (1, 2))
    chunks = select_chunks(randn(1, 2, time, dim, dtype=dtype, seed=3), k.mean(3), size, slots)
    weights = torch.rand(chunks.shape, device="cuda", generator=torch.Generator("cuda").manual_seed(4))

    def plain(q, k, v, weights):
        inside = torch.einsum("bhgtd,bhcsd->bhgtcs", q, k / q.shape[-1] ** 0.5).softmax(-1)
        shares = torch.zeros(*chunks.shape[:3], k.shape[2], device="cuda", dtype=q.dtype)
        shares = shares.scatter_add(-1, chunks.clamp_min(0).long(), weights.to(q.dtype) * (chunks >= 0))
        return torch.einsum("bhgtcs,bhtc,bhcsd->bhgtd", inside, shares, v)

    check(
        lambda q, k, v, w: hierarchical_attention(q, k, v, chunks, w, order=order),
        plain,
        (q, k, v, weights),
        randn(1, 2, group, time, dim, seed=5),
    )


@types
@pytest.mark.parametrize(
    ("tokens", "vocab", "width", "its_width", "temperature"),
    [
        (1500, 5003, 64, 128, 1.0),
        (700, 5003, 128, 64, 2.0),
        (333, 2000, 256, 512, 1.0),
        (333, 2000, 1024, 1024, 0.5),
        (200, 300, 112, 1008, 1.0),
        (9, 13, 20, 33, 1.0),
    ],
)
def test_the_distillation_loss(dtype, tokens, vocab, width, its_width, temperature):
    shapes = (tokens, width), (vocab, width), (tokens, its_width), (vocab, its_width)
    drawn = (randn(*shape, seed=seed) / shape[1] ** 0.25 for seed, shape in enumerate(shapes))
    *own, its_hidden, its_head = (x.to(dtype) for x in drawn)
    weight = torch.rand(tokens, device="cuda", generator=torch.Generator("cuda").manual_seed(4))
    weight[::3] = 0
    kind = partial(forward_kl, temperature=temperature)
    check(
        lambda h, v: linear_kl(h, v, its_hidden, its_head, weight, temperature=temperature),
        lambda h, v: naive_linear_divergence(h, v, its_hidden.to(h.dtype), its_head.to(h.dtype), weight, kind),
        own,
        torch.tensor(float(tokens), device="cuda"),  # gradients of a size that the slack does not cover
    )


def test_strides_are_followed_and_two_runs_are_equal():
    """(batch, time, head, dim) in memory."""
    q, k, v = (randn(2, 500, 4, 64, dtype=torch.bfloat16, seed=seed).transpose(1, 2) for seed in range(3))
    upstream, found = randn(2, 4, 500, 64, seed=3), []
    for inputs in ((q, k, v), (q, k, v), [x.contiguous() for x in (q, k, v)]):
        found.append(with_gradients(lambda q, k, v: sliding_window_attention(q, k, v, 100), inputs, upstream))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_what_auto_takes_on_a_gpu():
    """A kernel in 16 bits, torch in 32: the same numbers up to rounding."""
    q, k, v = (randn(1, 2, 300, 64, seed=seed) for seed in range(3))
    wide, narrow = (
        attention.sliding_window_attention(*(x.to(kind) for x in (q, k, v)), 50)
        for kind in (torch.float32, torch.bfloat16)
    )
    torch.testing.assert_close(narrow.float(), wide, atol=3e-2, rtol=3e-2)


def test_the_selection_has_the_scores_of_the_best():
    queries, landmarks = (randn(1, 4, time, 64, dtype=torch.bfloat16, seed=time) for time in (4096, 64))
    positions = torch.arange(4096, device="cuda")
    with backend.using("torch"):
        best = hsa.select_chunks(queries, landmarks, positions, 64, 16)
    found = select_chunks(queries, landmarks, 64, 16)
    exact = queries.double() @ landmarks.double().mT / 8

    def chosen(chunks, empty):
        return exact.gather(-1, chunks.clamp_min(0).long()).masked_fill(empty, -torch.inf).sort(-1).values

    torch.testing.assert_close(
        chosen(found, found < 0), chosen(best.chunks, best.scores == -torch.inf), atol=2e-2, rtol=2e-2
    )


def test_a_text_longer_than_an_int32_of_elements():
    """Offsets are 64 bits wide: the last head begins beyond 2^31 elements."""
    q = torch.zeros(1, 520, 65_536, 64, device="cuda", dtype=torch.bfloat16)
    q[:, -1] = randn(65_536, 64, dtype=torch.bfloat16)
    out = sliding_window_attention(q, q, q, 16)
    right = sliding_window_attention(q[:, -1:].clone(), q[:, -1:].clone(), q[:, -1:].clone(), 16)
    assert torch.equal(out[:, -1:], right)
