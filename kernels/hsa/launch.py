"""How the kernels of hierarchical sparse attention are launched: grids, strides, tiles."""

import torch
import triton
from torch import Tensor

from labkernels.hsa.backward import hsa_bwd_dkv_kernel, hsa_bwd_dq_kernel
from labkernels.hsa.forward import hsa_fwd_chunks_kernel, hsa_fwd_queries_kernel
from labkernels.hsa.inverse import inverse_index
from labkernels.runtime import Tiles, accumulator, rows, wide

# rows of queries (of any token, and any head of its group) to a tile; the keys of a tile are a chunk
QUERY_MAJOR = Tiles(16, 64, warps=2, stages=3)  # rows and warps grow with the group: see `of_a_token`
CHUNK_MAJOR = Tiles(128, 64, warps=8, stages=2)
FOR_DQ = Tiles(16, 64, warps=2, stages=2)
FOR_DKV = Tiles(64, 64, warps=8, stages=2)


def forward(
    q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor, scale: float, by_chunks: bool
) -> tuple[Tensor, Tensor]:
    """Output, and log-sum-exp (batch, kv_head, time, slot, group) in nats."""
    q, k, v, chunks, weights = rows(q), rows(k), rows(v), chunks.int().contiguous(), weights.contiguous()
    batch, kv_heads, group, time, dim = q.shape
    slots, size, acc = chunks.shape[-1], k.shape[3], accumulator(q.dtype)
    lse = torch.empty(*chunks.shape, group, device=q.device, dtype=wide(q.dtype))
    constants = {"G": group, "S": size, "D": dim, "ACC": acc}
    if by_chunks:
        inverse = inverse_index(chunks, k.shape[2])
        out = torch.zeros(q.shape, device=q.device, dtype=wide(q.dtype))
        hsa_fwd_chunks_kernel[(k.shape[2], batch * kv_heads)](
            q, k, v, weights, *inverse, out, lse, time, slots, kv_heads, k.shape[2], *_strides(q, k, v, out), scale,
            M=CHUNK_MAJOR.queries, **constants, **_options(CHUNK_MAJOR),
        )  # fmt: skip
        return out.to(q.dtype), lse
    out, token = torch.empty_like(q, memory_format=torch.contiguous_format), of_a_token(QUERY_MAJOR, group, size, dim)
    hsa_fwd_queries_kernel[(time, batch * kv_heads)](
        q, k, v, chunks, weights, out, lse, time, slots, kv_heads, *_strides(q, k, v, out), scale,
        ROWS=token.queries, **constants, **_options(token),
    )  # fmt: skip
    return out, lse


def backward(
    q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor, lse: Tensor, do: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and weights."""
    q, k, v, do = rows(q), rows(k), rows(v), rows(do)
    chunks, weights = chunks.int().contiguous(), weights.contiguous()
    batch, kv_heads, group, time, dim = q.shape
    slots, num_chunks = chunks.shape[-1], k.shape[2]
    dots, dweights = torch.empty_like(lse), torch.empty_like(weights)
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    constants = {"G": group, "S": k.shape[3], "D": dim, "ACC": accumulator(q.dtype)}
    token = of_a_token(FOR_DQ, group, k.shape[3], dim)
    hsa_bwd_dq_kernel[(time, batch * kv_heads)](
        q, k, v, chunks, weights, do, lse, dots, dq, dweights, time, slots, kv_heads, *_strides(q, k, v, do, dq), scale,
        ROWS=token.queries, **constants, **_options(token),
    )  # fmt: skip
    hsa_bwd_dkv_kernel[(num_chunks, batch * kv_heads)](
        q, k, v, weights, *inverse_index(chunks, num_chunks), do, lse, dots, dk, dv, time, slots, kv_heads, num_chunks,
        *_strides(q, k, v, do, dk), scale, M=FOR_DKV.queries, **constants, **_options(FOR_DKV),
    )  # fmt: skip
    return dq, dk, dv, dweights


def of_a_token(tiles: Tiles, group: int, size: int, dim: int) -> Tiles:
    """The tile of a token: a row a head of its group, at least 16, which is what tensor cores take.

    More warps where a row of scores and an output would not stay in the registers of two.
    """
    rows = max(16, triton.next_power_of_2(group))
    warps = 8 if rows >= 64 or size * dim > 64 * 128 else 4 if rows > 16 else tiles.warps
    return tiles._replace(queries=rows, keys=size, warps=warps)


def _options(tiles: Tiles) -> dict[str, int]:
    return {"num_warps": tiles.warps, "num_stages": tiles.stages}


def _strides(*tensors: Tensor) -> tuple[int, ...]:
    """All but the last axis' of each."""
    return tuple(stride for tensor in tensors for stride in tensor.stride()[:4])
