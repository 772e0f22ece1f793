"""The production configurations, for the compiler: chunks of 64 keys, groups of 4 heads, 16 chunks a token."""

from collections.abc import Iterator

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
IN_FULL = ("weights", "dweights", "lse", "dots")  # fp32 whatever the inputs are
INTEGERS = ("positions", "chunks", "entries", "offsets", "chosen")
TENSORS = ("q", "k", "v", "o", "do", "dq", "dk", "dv", "landmarks")


def builds(dtype: str = "bf16") -> Iterator[Build]:
    """Each kernel with heads of 64 and of 128."""
    for dim in (64, 128):
        for kind, (kernel, tiles) in KINDS.items():
            known = {
                "G": GROUP,
                "ROWS": launch.rows_for(GROUP),
                "M": tiles.queries,
                "S": SIZE,
                "D": dim,
                "ACC": tl.float32,
            }
            yield _build(f"hsa {kind}, dim {dim}", kernel, tiles, known, dtype)
        known = {
            "M": select.TILES.queries,
            "N": select.TILES.keys,
            "D": dim,
            "K": TOP_K,
            "KEPT": TOP_K,
            "ACC": tl.float32,
        }
        yield _build(f"hsa selection, dim {dim}", select.hsa_select_kernel, select.TILES, known, dtype)


def _build(name: str, kernel, tiles, known: dict, dtype: str) -> Build:
    arguments = kernel.arg_names
    types = {argument: "i32" for argument in arguments if argument in INTEGERS}
    types |= {argument: "fp32" for argument in arguments if argument in IN_FULL}
    types |= {argument: dtype for argument in arguments if argument in TENSORS}
    if kernel is hsa_fwd_chunks_kernel:
        types["o"] = "fp32"  # outputs are added up
    return Build(
        name=name,
        kernel=kernel,
        tiles=tiles,
        pointers=types,
        constants={key: value for key, value in known.items() if key in arguments},
        unaligned=("time", "kv_heads", "num_chunks"),
    )
