"""Hierarchical sparse attention on a chunk memory (HSA; arXiv 2511.23319, sections 2.2 and 3.1).

The hidden states at mid depth are cut into chunks. Each chunk is encoded once, in both directions, beside a landmark
token. All HSA layers above share this memory.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lablib.nn.context import Context, Memory
from lablib.nn.layers import Hidden, Linear, RMSNorm, SwiGLU
from lablib.nn.plan import ModelConfig
from lablib.ops.hsa import Patches, Selection, attend, select_chunks
from lablib.ops.rope import rotary


class ChunkEncoder(nn.Module):
    """Hidden states -> `Memory`: one bidirectional layer inside each chunk, with a landmark token at its end.

    With landmark "encoded" the chunk's landmark is read off that token, with "mean" off the mean of the hidden states.
    Only complete chunks are encoded; a ragged end waits.
    """

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.num_heads, self.num_kv_heads = cfg.num_heads, cfg.num_kv_heads
        self.chunk, self.theta, self.landmark = cfg.chunk, cfg.theta, cfg.landmark
        width, num_kv_heads, head_dim = cfg.width, cfg.num_kv_heads, cfg.width // cfg.num_heads
        self.token = nn.Parameter(torch.zeros(width))
        self.norm, self.mlp_norm, self.out_norm = RMSNorm(width), RMSNorm(width), RMSNorm(width)
        self.mix = nn.ModuleDict({name: Linear(width, width) for name in ("query", "key", "value", "out")})
        self.mlp = SwiGLU(width, 2 * width)
        self.to_landmark = Linear(width, width)
        self.to_key = Linear(width, num_kv_heads * head_dim)
        self.to_value = Linear(width, num_kv_heads * head_dim)
        self.landmark_norm, self.key_norm = RMSNorm(width // num_kv_heads), RMSNorm(head_dim)

    def forward(self, x: Hidden) -> Memory:
        """The memory of the complete chunks of `x`, whose first position begins a chunk."""
        batch, num_chunks = x.shape[0], x.shape[1] // self.chunk
        x = rearrange(x[:, : num_chunks * self.chunk], "b (c s) d -> (b c) s d", s=self.chunk)
        encoded = self._encode(torch.cat([x, self.token.expand(x.shape[0], 1, -1)], dim=1))
        tokens, summary = encoded[:, :-1], encoded[:, -1] if self.landmark == "encoded" else x.mean(dim=1)
        split = {"b": batch, "c": num_chunks, "h": self.num_kv_heads}
        landmarks = rearrange(self.to_landmark(summary), "(b c) (h d) -> b h c d", **split)
        keys = rearrange(self.to_key(tokens), "(b c) s (h d) -> b h c s d", **split)
        values = rearrange(self.to_value(tokens), "(b c) s (h d) -> b h c s d", **split)
        return Memory(self.landmark_norm(landmarks), self.key_norm(keys), values)

    def _encode(self, x: Float[Tensor, "chunks size width"]) -> Float[Tensor, "chunks size width"]:
        normed, places = self.norm(x), torch.arange(x.shape[1], device=x.device)
        q, k, v = (
            rearrange(self.mix[name](normed), "b s (h d) -> b h s d", h=self.num_heads)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(rotary(q, places, self.theta), rotary(k, places, self.theta), v)
        x = x + self.mix["out"](rearrange(mixed, "b h s d -> b s (h d)"))
        return self.out_norm(x + self.mlp(self.mlp_norm(x)))


class Retriever(nn.Module):
    """Hidden states -> the chunks they read. A module of its own, so that hooks can watch the selection."""

    def __init__(self, width: int, num_kv_heads: int, chunk: int):
        super().__init__()
        self.num_kv_heads, self.chunk = num_kv_heads, chunk
        self.query, self.norm = Linear(width, width), RMSNorm(width // num_kv_heads)

    def forward(
        self,
        x: Hidden,
        landmarks: Float[Tensor, "store kv_head chunk dim"],
        positions: Int[Tensor, " time"],
        top_k: int,
        patches: Patches | None = None,
    ) -> Selection:
        return select_chunks(self.queries(x), landmarks, positions, self.chunk, top_k, patches=patches)

    def queries(self, x: Hidden) -> Float[Tensor, "batch kv_head time dim"]:
        """What the landmarks are scored against, normed like them."""
        return self.norm(rearrange(self.query(x), "b t (h d) -> b h t d", h=self.num_kv_heads))


class SparseAttention(nn.Module):
    """HSA: each token reads the top-k chunks of its past, without positions (NoPE). It keeps no state of its own.

    With `hsa_rope`, queries and keys are rotated by their absolute positions instead: the contrast of the lab.
    With `bypass`, a block feeds the read to its MLP only, not to the residual stream (arXiv 2510.17196).
    """

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.num_kv_heads, self.chunk, self.fusion, self.bypass = cfg.num_kv_heads, cfg.chunk, cfg.fusion, cfg.bypass
        self.theta = cfg.theta if cfg.hsa_rope else None
        self.retriever = Retriever(cfg.width, cfg.num_kv_heads, cfg.chunk)
        self.query, self.out = Linear(cfg.width, cfg.width), Linear(cfg.width, cfg.width)
        self.query_norm = RMSNorm(cfg.width // cfg.num_heads)

    def forward(self, x: Hidden, state: None, context: Context) -> tuple[Hidden, None]:
        """Reads the memory of the context; a patched memory is always gathered. ValueError where there is none."""
        if context.memory is None or context.positions is None:
            raise ValueError("an HSA layer reads a memory at known positions: give both in the context")
        memory, patches = context.memory, context.patches
        selection = self.retriever(x, memory.landmarks, context.positions, context.top_k, patches)
        q = rearrange(self.query(x), "b t (h g d) -> b h g t d", h=self.num_kv_heads, d=memory.keys.shape[-1])
        q, keys = self.query_norm(q), memory.keys
        if self.theta is not None:
            q = rotary(q, context.positions, self.theta)
            keys = self._turned(keys, torch.arange(keys.shape[2], device=x.device).expand(len(keys), -1))
            if patches is not None:
                patches = patches._replace(keys=self._turned(patches.keys, patches.chunks))
        mixed = attend(q, keys, memory.values, selection, self.fusion, gathered=context.gathered, patches=patches)
        return self.out(rearrange(mixed, "b h g t d -> b t (h g d)")), None

    def _turned(
        self, keys: Float[Tensor, "store kv_head chunk size dim"], chunks: Int[Tensor, "store chunk"]
    ) -> Float[Tensor, "store kv_head chunk size dim"]:
        """Keys rotated by the absolute positions that their chunks' places give them."""
        positions = chunks[:, :, None] * self.chunk + torch.arange(self.chunk, device=keys.device)
        flat = rearrange(keys, "b h c s d -> h (b c s) d")
        turned = rotary(flat, positions.flatten(), self.theta)
        return rearrange(turned, "h (b c s) d -> b h c s d", b=keys.shape[0], s=self.chunk)
