"""The configurations of the kernels of chosen chunks, for the compiler: production, and the corners of the limits."""

from collections.abc import Iterator

import triton
import triton.language as tl

from labkernels.compiled import Build
from labkernels.hsa import launch, select
from labkernels.hsa.backward import hsa_bwd_dkv_kernel, hsa_bwd_dq_kernel
from labkernels.hsa.forward import hsa_fwd_chunks_kernel, hsa_fwd_queries_kernel

GROUP, SIZE, TOP_K = 4, 64, 16
KINDS = {
    "forward, query-major": (hsa_fwd_queries_kernel, launch.QUERY_MAJOR),
    "forward, chunk-major": (hsa_fwd_chunks_kernel, launch.CHUNK_MAJOR),
    "dq": (hsa_bwd_dq_kernel, launch.FOR_DQ),
    "dk, dv": (hsa_bwd_dkv_kernel, launch.FOR_DKV),
}
OF_A_TOKEN = ("forward, query-major", "dq")
IN_FULL = ("weights", "dweights", "lse", "dots")  # fp32 whatever the inputs are
INTEGERS = ("positions", "chunks", "entries", "chosen")
IN_TYPE = ("q", "k", "v", "o", "do", "dq", "dk", "dv", "landmarks")


def builds() -> Iterator[Build]:
    """Each kernel in bf16 with heads of 64 and of 128: chunks of 64 keys, groups of 4 heads, 16 chunks a token."""
    for dim in (64, 128):
        for kind in KINDS:
            yield build(kind, dim, SIZE, GROUP, "bf16", f"hsa {kind}, dim {dim}")
        yield selection(dim, TOP_K, "bf16", f"hsa selection, dim {dim}")


def corners() -> Iterator[Build]:
    """The smallest and the largest heads, chunks and groups that are taken; fp16; one chunk a token and 64."""
    for dim, size, group in ((16, 16, 1), (128, 128, 1), (128, 128, 16), (128, 128, 32), (128, 128, 64), (64, 64, 64)):
        for kind in KINDS:
            yield build(kind, dim, size, group, "bf16", f"hsa {kind}, dim {dim}, chunks of {size}, groups of {group}")
    for kind in KINDS:
        yield build(kind, 64, SIZE, GROUP, "fp16", f"hsa {kind}, dim 64, fp16")
    for dim, top_k in ((16, 1), (64, 64), (256, 16), (256, 64)):
        yield selection(dim, top_k, "bf16", f"hsa selection, dim {dim}, {top_k} chunks")


def build(kind: str, dim: int, size: int, group: int, dtype: str, name: str) -> Build:
    kernel, tiles = KINDS[kind]
    if kind in OF_A_TOKEN:
        tiles = launch.of_a_token(tiles, group, size, dim)
    known = {"G": group, "ROWS": tiles.queries, "M": tiles.queries, "S": size, "D": dim, "ACC": tl.float32}
    types = of_tensors(dtype)
    if kernel is hsa_fwd_chunks_kernel:
        types["o"] = "fp32"  # outputs are added up
    return _build(name, kernel, tiles, known, types)


def selection(dim: int, top_k: int, dtype: str, name: str) -> Build:
    tiles = select.fitting(dim, top_k)
    known = {"M": tiles.queries, "N": tiles.keys, "D": dim, "K": top_k, "KEPT": triton.next_power_of_2(top_k)}
    return _build(name, select.hsa_select_kernel, tiles, known | {"ACC": tl.float32}, of_tensors(dtype))


def of_tensors(dtype: str) -> dict[str, str]:
    """The type of each tensor's elements, by the tensor's name in the kernels."""
    types = {"offsets": "i64"} | {name: "i32" for name in INTEGERS}
    return types | {name: "fp32" for name in IN_FULL} | {name: dtype for name in IN_TYPE}


def _build(name: str, kernel, tiles, known: dict, types: dict[str, str]) -> Build:
    arguments = kernel.arg_names
    return Build(
        name=name,
        kernel=kernel,
        tiles=tiles,
        pointers={argument: kind for argument, kind in types.items() if argument in arguments},
        constants={key: value for key, value in known.items() if key in arguments},
        unaligned=("time", "kv_heads", "num_chunks"),
    )
