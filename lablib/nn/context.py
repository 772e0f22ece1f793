"""What a mixer is given beside the hidden states: the context of a pass, and the chunk memory of HSA."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from lablib.core.refusals import at_least
from lablib.ops.hsa import Patches


class Memory(NamedTuple):
    """What HSA layers read: a landmark, keys and values of every complete chunk.

    The batch axis (`store`) is 1 where many queries share one store.
    """

    landmarks: Float[Tensor, "store kv_head chunk landmark_dim"]
    keys: Float[Tensor, "store kv_head chunk size dim"]
    values: Float[Tensor, "store kv_head chunk size dim"]


@dataclass(frozen=True)
class Context:
    """The same for every layer of a pass. This is the only place that says the window and the top-k.

    window      tokens that a sliding window reads, the token's own among them
    top_k       chunks that a token reads through HSA
    positions   of the tokens in the text; HSA needs them          memory   what HSA reads
    patches     what each question reads instead of a memory that all share, or beyond it
    gathered    HSA reads the chosen chunks alone (long inputs), otherwise all, the others weighted 0
    losses      auxiliary losses that layers have returned in this pass
    """

    window: int
    top_k: int
    positions: Int[Tensor, " time"] | None = None
    memory: Memory | None = None
    patches: Patches | None = None
    gathered: bool = False
    losses: list[Tensor] = field(default_factory=list)

    def last(self, number: int) -> "Context":
        """The context of the last `number` tokens, at least one."""
        at_least(1, number=number)
        return self if self.positions is None else replace(self, positions=self.positions[-number:])
