"""The one table of initial values.

    embedding, landmark token   normal, std 1            output maps (out, down)  normal, std 1 / sqrt(2 layers fan_in)
    gains of norms, skips       1                        other maps and kernels   normal, std 1 / sqrt(fan_in)
    biases                      0                        inner rates              as configured
    decay rates                 log-uniform in [1, 16]   steps of recurrences     log-uniform in [0.001, 0.1]

The steps are drawn as in the published codes of Mamba-2 (arXiv 2405.21060) and Gated DeltaNet (2412.06464). The decay
rates are not: the codes draw them uniform, in [1, 16] and in [0, 16], so their heads forget faster in the mean.

With retrieval_init "identity" the retrieval query, the landmark map, and the encoder's value and output maps start as
the identity, so a chunk scores by the likeness of its mean to the query. "identity-read" adds the value and output maps
of the reads, so a read starts as a mean of hidden states.
"""

import math

import torch
from torch import Generator, nn

from lablib.nn.hsa import ChunkEncoder, SparseAttention


def initialise(model: nn.Module, depth: int, retrieval_init: str, generator: Generator) -> None:
    """Draw every parameter of a model of `depth` layers, in the order of their names."""
    for name, parameter in model.named_parameters():
        leaf = name.split(".")[-2]
        if name.endswith("log_rate") and parameter.ndim:
            nn.init.uniform_(parameter, 0, math.log(16), generator=generator)
        elif name.endswith("step_bias"):
            step = torch.empty_like(parameter).uniform_(math.log(1e-3), math.log(0.1), generator=generator).exp()
            parameter.data = step + torch.log(-torch.expm1(-step))  # softplus(bias) = step
        elif leaf == "embedding" or name == "encoder.token":
            nn.init.normal_(parameter, generator=generator)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim >= 2:
            scale = 1 / math.sqrt(2 * depth) if leaf in ("out", "down") else 1.0
            nn.init.normal_(parameter, std=scale / math.sqrt(parameter.shape[-1]), generator=generator)
    for module in model.modules():
        scores, reads = [], []  # the maps that scores and reads pass
        if isinstance(module, SparseAttention):
            scores, reads = [module.retriever.query], [module.out]
        elif isinstance(module, ChunkEncoder):
            scores, reads = [module.to_landmark, module.mix["value"], module.mix["out"]], [module.to_value]
        same = {"ordinary": [], "identity": scores, "identity-read": scores + reads}[retrieval_init]
        for linear in same:
            nn.init.eye_(linear.weight)
