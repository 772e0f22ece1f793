"""Who can compute an operator, each behind the same door: operands in, output out. Correctness comes before time.

ours                      the Triton kernels (a GPU; or the interpreter, whose times mean nothing)
banded, by chunk          the lab's torch versions
gathered                  the lab's version for few queries: each copies the chunks it chose
the definition            matrix and all
SDPA with a dense mask    torch's attention and a mask of time x time
causal SDPA               *other work*: attention to all of the past, what one would use without the operator
flex_attention            compiled, with a block mask (a GPU: its backward does not exist on a CPU)
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lablib.ops import backend
from lablib.ops.attention import attention_reference, sliding_window_attention, window_mask
from lablib.ops.hsa import (
    Selection,
    attend_by_chunk,
    attend_dense,
    attend_gathered,
    fusion_weights,
    select_chunks,
)
from lablib.speed.work import Operator, Shape

Compute = Callable[..., Tensor]


class Provider(NamedTuple):
    """`make(shape)` gives the function of the operands; `same` says whether its output is the operator's."""

    make: Callable[[Shape], Compute]
    needs_gpu: bool = False
    same: bool = True


def operands(
    operator: Operator, shape: Shape, device: torch.device, dtype: torch.dtype, seed: int
) -> tuple[Tensor, ...]:
    """q, k, v; for chosen chunks also the indices and weights of a selection by random landmarks; for the selection
    queries and landmarks.
    """
    generator, chunks = Generator().manual_seed(seed), shape.time // shape.chunk

    def randn(*size: int) -> Tensor:
        return torch.randn(shape.batch, *size, shape.dim, generator=generator).to(device, dtype)

    if operator == "sliding window":
        return randn(shape.heads, shape.time), *(randn(shape.kv_heads, shape.time) for _ in range(2))
    asking, landmarks = randn(shape.kv_heads, shape.time), randn(shape.kv_heads, chunks)
    if operator == "selection":
        return asking, landmarks
    q = randn(shape.kv_heads, shape.heads // shape.kv_heads, shape.time)
    k, v = (randn(shape.kv_heads, chunks, shape.chunk) for _ in range(2))
    with torch.no_grad():
        chosen = _selected(shape, asking, landmarks)
    return q, k, v, chosen.chunks, fusion_weights(chosen.scores.float())


@backend.using("torch")
def _selected(shape: Shape, queries: Tensor, landmarks: Tensor) -> Selection:
    """The lab's selection in torch, with chunk -1 in slots that stay empty."""
    found = select_chunks(queries, landmarks, _places(shape, queries.device), shape.chunk, shape.top_k)
    return found._replace(chunks=found.chunks.masked_fill(found.scores == -torch.inf, -1))


def _places(shape: Shape, device: torch.device) -> Tensor:
    return torch.arange(shape.time, device=device)


def _window_by(way: backend.Backend) -> Callable[[Shape], Compute]:
    return lambda shape: backend.using(way)(lambda q, k, v: sliding_window_attention(q, k, v, shape.window))


def _window_masked(shape: Shape) -> Compute:
    @cache
    def mask(device: torch.device) -> Tensor:
        return window_mask(shape.time, shape.window, device)

    def compute(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.is_cuda:  # with a mask and groups, torch takes no fused kernel there
            k, v = (x.repeat_interleave(shape.heads // shape.kv_heads, dim=1) for x in (k, v))
        gqa = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask(q.device), enable_gqa=gqa)

    return compute


@cache  # compiling takes longer than all that is timed
def _window_flex(shape: Shape) -> Compute:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    window = shape.window
    near = lambda _batch, _head, i, j: (j <= i) & (i - j < window)  # noqa: E731
    # each shape is compiled for itself; past a limit torch would run it uncompiled and only warn
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    mask_of = torch.compile(create_block_mask)  # compiled: the mask itself would be time x time
    blocks = mask_of(near, None, None, shape.time, shape.time, device="cuda")
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    return lambda q, k, v: compiled(q, k, v, block_mask=blocks, enable_gqa=shape.heads != shape.kv_heads)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def _causal_over_chunks(shape: Shape, q: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> Tensor:
    """Attention to all of the past, of the same heads and text; chunks and weights are of no use to it."""
    whole = shape.time // shape.chunk * shape.chunk
    out = _causal(q.flatten(1, 2)[:, :, :whole], k.flatten(2, 3), v.flatten(2, 3))
    return F.pad(out, (0, 0, 0, shape.time - whole)).view(q.shape)


def _chunks_by_triton(order: str) -> Callable[[Shape], Compute]:
    @backend.using("triton")
    def compute(*inputs: Tensor) -> Tensor:
        kernel = backend.kernel("hierarchical sparse attention", *inputs)
        return kernel.hierarchical_attention(*inputs, order=order)

    return lambda _: compute


def _chunks_in_torch(attend: Compute, q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor) -> Tensor:
    """The lab's versions take scores: the logarithm of the weights fuses to the weights again."""
    scores = weights.clamp_min(1e-30).log().masked_fill(chunks < 0, -torch.inf).to(q.dtype)
    return attend(q, k, v, Selection(chunks.clamp_min(0), scores))


def _gather_then_sdpa(shape: Shape, q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor) -> Tensor:
    """Copy the chunks of each token and slot, then one small attention for each, and add."""
    most = 32_768  # tokens and heads to a call: a GPU's fused attention takes up to 65 535
    batch, head = torch.arange(q.shape[0])[:, None, None, None], torch.arange(q.shape[1])[:, None, None]
    safe = chunks.clamp_min(0)
    keys, values = (x[batch.to(x.device), head.to(x.device), safe].flatten(0, 2) for x in (k, v))
    asked = q.permute(0, 1, 3, 2, 4).flatten(0, 2)[:, None].expand(-1, chunks.shape[-1], -1, -1)
    pieces = zip(asked.split(most), keys.split(most), values.split(most), strict=True)
    read = torch.cat([F.scaled_dot_product_attention(*piece) for piece in pieces])  # (token, slot, group, dim)
    shares = torch.where(chunks >= 0, weights, 0.0).flatten(0, 2).to(q.dtype)
    fused = torch.einsum("nkgd,nk->ngd", read, shares)
    return fused.view(*q.shape[:2], shape.time, q.shape[2], q.shape[4]).transpose(2, 3)


@backend.using("triton")
def _best_by_triton(shape: Shape, queries: Tensor, landmarks: Tensor) -> Tensor:
    inputs = (queries, landmarks, shape.chunk, shape.top_k)
    return backend.kernel("selection of chunks", *inputs).select_chunks(*inputs, _places(shape, queries.device)).long()


def _best_of_all(shape: Shape, queries: Tensor, landmarks: Tensor) -> Tensor:
    places = _places(shape, queries.device)
    complete = (places[: landmarks.shape[2]] + 1) * shape.chunk <= places[:, None]
    best = (queries @ landmarks.mT).masked_fill(~complete, -torch.inf).topk(min(shape.top_k, landmarks.shape[2]))
    return best.indices.masked_fill(best.values == -torch.inf, -1)


PROVIDERS: dict[Operator, dict[str, Provider]] = {
    "sliding window": {
        "ours": Provider(_window_by("triton"), needs_gpu=True),
        "banded": Provider(_window_by("torch")),
        "flex_attention": Provider(_window_flex, needs_gpu=True),
        "SDPA with a dense mask": Provider(_window_masked),
        "the definition": Provider(
            lambda shape: lambda q, k, v: attention_reference(q, k, v, window_mask(shape.time, shape.window, q.device))
        ),
        "causal SDPA": Provider(lambda _: _causal, same=False),
    },
    "chosen chunks": {
        "ours": Provider(_chunks_by_triton("auto"), needs_gpu=True),
        "ours, query-major": Provider(_chunks_by_triton("queries"), needs_gpu=True),
        "ours, chunk-major": Provider(_chunks_by_triton("chunks"), needs_gpu=True),
        "by chunk": Provider(lambda _: partial(_chunks_in_torch, attend_by_chunk)),
        "gathered": Provider(lambda _: partial(_chunks_in_torch, attend_gathered)),
        "gather, then SDPA": Provider(lambda shape: partial(_gather_then_sdpa, shape)),
        "the definition": Provider(lambda _: partial(_chunks_in_torch, attend_dense)),
        "causal SDPA": Provider(lambda shape: partial(_causal_over_chunks, shape), same=False),
    },
    "selection": {
        "ours": Provider(lambda shape: partial(_best_by_triton, shape), needs_gpu=True),
        "block by block": Provider(lambda shape: lambda *inputs: _selected(shape, *inputs).chunks),
        "the definition": Provider(lambda shape: partial(_best_of_all, shape)),
    },
}
