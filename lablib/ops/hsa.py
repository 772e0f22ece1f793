"""Hierarchical sparse attention (HSA; arXiv 2511.23319, section 2.2): choose chunks by their landmarks, read, fuse.

    s    score of a chunk for a query: <retrieval query, landmark> / sqrt(d)
    I    the top-k chunks of the past by score: the selection
    O_c  one softmax attention inside chunk c
    w    fusion weights over I from the same scores, so that d loss / d s = w (<O_c, dO> - sum w <O, dO>) reaches them

Layout: queries (batch, kv_head, group, time, dim), chunk memory (batch or 1, kv_head, chunk, size, dim).
A chunk is visible only when it is complete: to positions from (c + 1) * size on. Anything earlier leaks the future,
because the chunks are encoded in both directions.
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lablib.core.refusals import at_least
from lablib.ops import backend
from lablib.ops.fusion import fusion_weights, lowest
from lablib.ops.hsa_by_chunk import read_by_chunk

Fusion = Literal["softmax", "stick-breaking", "concat"]
Queries = Float[Tensor, "batch kv_head group time dim"]
Memory = Float[Tensor, "store kv_head chunk size dim"]

NOWHERE = 1 << 40  # the place of a patch that stands for no chunk: later than any position
SCORES_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 28}  # of a selection: a core's cache holds no more; a GiB of a GPU
LANDMARKS_AT_ONCE = 256  # and at least so many, in which the best are found: fewer are mostly the best so far again
WORK_OF_A_CHUNK = 1 << 18  # multiply-adds: with less, what a chunk's product costs is its call


class Patches(NamedTuple):
    """Chunks in which a question differs from the store that many questions share, or that only it has.

    `chunks` are their places, NOWHERE where a question has fewer; no place comes twice in a question.
    """

    chunks: Int[Tensor, "question patch"]
    landmarks: Float[Tensor, "question kv_head patch landmark_dim"]
    keys: Float[Tensor, "question kv_head patch size dim"]
    values: Float[Tensor, "question kv_head patch size dim"]


class Selection(NamedTuple):
    """The chunks that each query reads, oldest first; a score of -inf marks a slot that found no visible chunk."""

    chunks: Int[Tensor, "batch kv_head time k"]
    scores: Float[Tensor, "batch kv_head time k"]


def visible_chunks(
    positions: Int[Tensor, " time"], chunks: Int[Tensor, "*question chunk"], size: int
) -> Bool[Tensor, "*question time chunk"]:
    """True where the chunk is complete before the position."""
    return positions[:, None] >= (chunks[..., None, :] + 1) * size


def select_chunks(
    queries: Float[Tensor, "batch kv_head time dim"],
    landmarks: Float[Tensor, "store kv_head chunk dim"],
    positions: Int[Tensor, " time"],
    size: int,
    top_k: int,
    block: int = 1 << 16,
    patches: Patches | None = None,
) -> Selection:
    """The `top_k` best-scoring visible chunks of each query; at most `block` landmarks are scored at a time.

    The landmarks' batch is that of the queries, or 1 where all queries read one store; `patches` then take the place
    of its chunks, a question at a time. A query that sees fewer chunks gets fewer: with `k = min(top_k, chunks)`
    slots, the rest at -inf. Of equal scores those of the older chunks are chosen. By a Triton kernel where
    `lablib/ops/backend.py` says so.
    """
    at_least(1, size=size, top_k=top_k, block=block)
    asked = len(queries) if patches is None else len(patches.chunks)
    if len(positions) != queries.shape[2] or asked != len(queries):
        came = f"{len(positions)} positions and {asked} questions for queries {tuple(queries.shape)}"
        raise ValueError(f"{came}; expected a position a query and a row a question")
    if backend.kernels_wanted(queries):
        if patches is not None:
            backend.no_kernel("selection of chunks", "patches of a shared store are read in torch")
        else:
            stored = landmarks.expand(queries.shape[0], *landmarks.shape[1:])
            if kernel := backend.kernel("selection of chunks", queries, stored, size, top_k):
                return _scored(queries, stored, kernel.select_chunks(queries, stored, size, top_k, positions).long())
    heads, time = math.prod(queries.shape[:2]), queries.shape[2]
    at_once = SCORES_AT_ONCE["cpu" if queries.device.type == "cpu" else "cuda"]
    block = max(1, min(block, max(at_once // max(heads * time, 1), LANDMARKS_AT_ONCE)))
    rows = max(1, at_once // max(heads * min(block, landmarks.shape[2]), 1))
    parts = []
    for start in range(0, max(time, 1), rows):
        here, seen = slice(start, start + rows), landmarks
        if rows < time:  # later chunks are visible to none of these queries, but slots stay as many
            complete = int(positions[here].max()) // size
            seen = landmarks[:, :, : max(complete, top_k)]
        parts.append(_best_of(queries[:, :, here], seen, positions[here], size, top_k, block, patches))
    return (
        parts[0] if len(parts) == 1 else Selection(*(torch.cat(column, dim=2) for column in zip(*parts, strict=True)))
    )


def _best_of(
    queries: Tensor, landmarks: Tensor, positions: Tensor, size: int, top_k: int, block: int, patches: Patches | None
) -> Selection:
    """The selection of a few queries, `block` landmarks at a time."""
    num_chunks, shared = landmarks.shape[2], landmarks.shape[0] == 1
    chosen, best = (None, None) if patches is None else _score_patches(queries, patches, positions, size)
    for start in range(0, max(num_chunks, 1), block):
        part = landmarks[:, :, start : start + block]
        # einsum: one product over all queries of a shared store, where matmul would copy the store for each
        scores = torch.einsum("bhtd,hcd->bhtc", queries, part[0]) if shared else queries @ part.transpose(-2, -1)
        index = torch.arange(start, start + part.shape[2], device=queries.device)
        hidden = ~visible_chunks(positions, index, size)
        scores = (scores / math.sqrt(queries.shape[-1])).masked_fill(hidden, -math.inf)
        if patches is not None:
            row, patch = ((patches.chunks >= start) & (patches.chunks < start + part.shape[2])).nonzero(as_tuple=True)
            scores[row, :, :, patches.chunks[row, patch] - start] = -math.inf
        index = index.expand(scores.shape)
        if best is not None:
            scores, index = torch.cat([best, scores], dim=-1), torch.cat([chosen, index], dim=-1)
        chosen, best = _top(scores, index, top_k)
    chosen, order = chosen.sort(dim=-1)
    return Selection(chosen, best.gather(-1, order))


def _top(scores: Float[Tensor, "*row c"], index: Int[Tensor, "*row c"], top_k: int) -> tuple[Tensor, Tensor]:
    """Index and score of the best, in any order; of equal scores those with the lowest index."""
    if scores.shape[-1] <= top_k:
        return index, scores
    best, order = scores.topk(top_k + 1, dim=-1)
    tied = (best[..., -1] == best[..., -2]) & (best[..., -1] > -math.inf)
    order = order[..., :-1]
    if bool(tied.any()):  # which of the equals topk names is not said
        by_age = index[tied].argsort(dim=-1)
        best_first = scores[tied].gather(-1, by_age).argsort(dim=-1, descending=True, stable=True)
        order = order.clone()
        order[tied] = by_age.gather(-1, best_first)[..., :top_k]
    return index.gather(-1, order), scores.gather(-1, order)


def _scored(queries: Tensor, landmarks: Tensor, chunks: Tensor) -> Selection:
    """The scores, with their gradient, of chunks that were chosen without one; -1 is no chunk."""
    if landmarks.shape[2] == 0:
        return Selection(chunks[..., :0], queries.new_zeros(*chunks.shape[:3], 0))
    safe = chunks.clamp_min(0)
    scores = torch.einsum("bhtd,bhtkd->bhtk", queries, _of_chunks(landmarks, safe)) / math.sqrt(queries.shape[-1])
    return Selection(safe, scores.masked_fill(chunks < 0, -math.inf))


def _score_patches(queries: Tensor, patches: Patches, positions: Tensor, size: int):
    """Places and scores of the patches for each query."""
    scores = queries @ patches.landmarks.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    hidden = ~visible_chunks(positions, patches.chunks, size)
    return patches.chunks[:, None, None].expand(scores.shape), scores.masked_fill(hidden[:, None], -math.inf)


def attend(
    q: Queries,
    k: Memory,
    v: Memory,
    selection: Selection,
    fusion: Fusion = "softmax",
    *,
    gathered: bool = False,
    patches: Patches | None = None,
) -> Queries:
    """Read the chosen chunks by a Triton kernel where `lablib/ops/backend.py` says so, else in torch.

    There chunk by chunk where many queries choose the same large chunks. Else `gathered` reads the chosen chunks alone
    (long inputs; patches always), otherwise all are read, the others weighted 0.
    """
    if backend.kernels_wanted(q) and k.shape[2] and selection.chunks.shape[-1]:
        if patches is not None or fusion == "concat":
            backend.no_kernel("hierarchical sparse attention", "patches and the fusion 'concat' are read in torch")
        else:
            chunks = selection.chunks.masked_fill(selection.scores == -math.inf, -1)
            stored = (x.expand(q.shape[0], *x.shape[1:]) for x in (k, v))
            operands = (q, *stored, chunks, fusion_weights(selection.scores, fusion))
            if kernel := backend.kernel("hierarchical sparse attention", *operands):
                return kernel.hierarchical_attention(*operands)
    if patches is None and fusion != "concat" and by_chunk_pays(q, k, selection):
        return attend_by_chunk(q, k, v, selection, fusion)
    if gathered or patches is not None:
        return attend_gathered(q, k, v, selection, fusion, patches=patches)
    return attend_dense(q, k, v, selection, fusion)


def by_chunk_pays(q: Queries, k: Memory, selection: Selection) -> bool:
    """Whether a chunk has so many readers that a product of its own pays; never where second derivatives are wanted."""
    work = selection.chunks.numel() * q.shape[2] * k.shape[3] * k.shape[4]
    return not backend.is_plain() and work >= WORK_OF_A_CHUNK * max(math.prod(k.shape[:3]), 1)


def attend_by_chunk(q: Queries, k: Memory, v: Memory, selection: Selection, fusion: Fusion = "softmax") -> Queries:
    """The same chunk by chunk: a dense product for each and the queries that chose it; memory O(time * top_k).

    Differentiable once. ValueError for the fusion "concat", whose softmax is over all chunks of a query.
    """
    if fusion == "concat":
        raise ValueError("the fusion 'concat' has one softmax over all chunks of a query; use `attend_gathered`")
    if k.shape[2] == 0:
        return torch.zeros_like(q)
    chunks = selection.chunks.masked_fill(selection.scores == -math.inf, -1)
    return read_by_chunk(q, k, v, chunks, fusion_weights(selection.scores, fusion))


def attend_dense(q: Queries, k: Memory, v: Memory, selection: Selection, fusion: Fusion = "softmax") -> Queries:
    """The definition: every query against every chunk, the unselected ones weighted 0. For training lengths.

    Empty slots may name any chunk, also one that another slot has chosen.
    """
    shape = (*selection.chunks.shape[:3], k.shape[2])
    if k.shape[2] == 0:
        return torch.zeros_like(q)
    logits = torch.einsum("bhgtd,bhcsd->bhgtcs", q, k.expand(q.shape[0], *k.shape[1:])) / math.sqrt(q.shape[-1])
    if fusion == "concat":
        seen = (selection.scores > -math.inf).to(q.dtype)
        chosen = q.new_zeros(shape).scatter_add(-1, selection.chunks, seen) > 0
        weights = _joint_softmax(logits, chosen[:, :, None, :, :, None])
    else:
        fused = q.new_zeros(shape).scatter_add(-1, selection.chunks, fusion_weights(selection.scores, fusion))
        weights = fused[:, :, None, :, :, None] * logits.softmax(dim=-1)  # w_c times one softmax per chunk
    return torch.einsum("bhgtcs,bhcsd->bhgtd", weights, v.expand(q.shape[0], *v.shape[1:]))


def attend_gathered(
    q: Queries,
    k: Memory,
    v: Memory,
    selection: Selection,
    fusion: Fusion = "softmax",
    block: int = 256,
    patches: Patches | None = None,
) -> Queries:
    """The same from the chosen chunks alone: O(top_k * size) a query, `block` positions at a time.

    A chunk that `patches` hold for a question is read from there.
    """
    if k.shape[2] == 0 and patches is None:
        return torch.zeros_like(q)
    places, _, own_keys, own_values = patches or (None, None, None, None)
    outputs = []
    for start in range(0, q.shape[3], block):
        here = slice(start, start + block)
        chunks, scores = selection.chunks[:, :, here], selection.scores[:, :, here]
        keys, values = _read_chunks(k, chunks, places, own_keys), _read_chunks(v, chunks, places, own_values)
        logits = torch.einsum("bhgtd,bhtksd->bhgtks", q[:, :, :, here], keys) / math.sqrt(q.shape[-1])
        if fusion == "concat":
            weights = _joint_softmax(logits, (scores > -math.inf)[:, :, None, :, :, None])
        else:
            weights = fusion_weights(scores, fusion)[:, :, None, :, :, None] * logits.softmax(dim=-1)
        outputs.append(torch.einsum("bhgtks,bhtksd->bhgtd", weights, values))
    return torch.cat(outputs, dim=3) if outputs else torch.zeros_like(q)


def _read_chunks(
    stored: Memory,
    chunks: Int[Tensor, "batch kv_head time k"],
    places: Int[Tensor, "question patch"] | None,
    patched: Float[Tensor, "question kv_head patch size dim"] | None,
) -> Float[Tensor, "batch kv_head time k size dim"]:
    """The keys or values of the chosen chunks: from the store, and from `patched` where a question has its own."""
    if places is None or patched is None:
        return _of_chunks(stored, chunks)
    same = chunks[..., None] == places[:, None, None, None]
    own = _of_chunks(patched, same.int().argmax(dim=-1))
    if stored.shape[2] == 0:
        return own
    common = _of_chunks(stored, chunks.clamp(max=stored.shape[2] - 1))
    return torch.where(same.any(dim=-1)[..., None, None], own, common)


def _of_chunks(
    stored: Float[Tensor, "store kv_head chunk ..."], chunks: Int[Tensor, "batch kv_head time k"]
) -> Float[Tensor, "batch kv_head time k ..."]:
    """What is stored of the chosen chunks, head by head."""
    store = torch.arange(stored.shape[0], device=stored.device)[:, None, None, None]
    head = torch.arange(stored.shape[1], device=stored.device)[:, None, None]
    return stored[store, head, chunks]


def _joint_softmax(
    logits: Float[Tensor, "b h g t c s"], chosen: Bool[Tensor, "b h 1 t c 1"]
) -> Float[Tensor, "b h g t c s"]:
    """One softmax over the tokens of all chosen chunks (NSA, MoBA): the scores only choose and get no gradient."""
    joint = logits.masked_fill(~chosen, lowest(logits)).flatten(-2).softmax(dim=-1)
    return joint.view(logits.shape) * chosen
