"""The router: from a wanted size to a budget, learnt together with the weights (arXiv 2511.16664, section 3.2).

One small MLP an axis maps the one-hot target to logits over the choices of that axis; Gumbel-softmax draws from them.
The router never sees the text: after training it is a table from target to budget.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.elastic.budgets import Budget, cost, full_sizes, layer_parameters, sliced_config
from lablib.elastic.slices import WIDTH, Axis, Masks, masks
from lablib.nn.plan import ModelConfig

Choice = Float[Tensor, " option"]  # a share for each option of an axis; they sum to 1


@dataclass(frozen=True, kw_only=True)
class RouterConfig(Config):
    """Targets in shares of the parent's parameters, the options of each axis, and how the router learns.

    heterogeneous  a choice for each layer, not one for all of its kind
    mix            "soft": masks are averaged by the shares; "straight-through": the largest share forward, all backward
    cost_weight    of |cost - target| / parent, the lambda of the paper
    temperature    of Gumbel-softmax, from first to last step, geometric; `scale` of the logits, linear
    depth          the layers, the most important first; a choice of depth keeps the first of them
    """

    targets: tuple[float, ...] = (1.0, 0.72, 0.5)
    width: tuple[int, ...] = (40, 48, 56, 64)
    hidden: tuple[int, ...] = (48, 96, 144, 192)
    mamba_heads: tuple[int, ...] = (1, 2, 3, 4)
    heads: tuple[int, ...] = (2, 3, 4)
    depths: tuple[int, ...] = (4, 5, 6)
    depth: tuple[int, ...] = (0, 1, 3, 5, 2, 4)
    heterogeneous: bool = False
    mix: Literal["soft", "straight-through"] = "soft"
    cost_weight: float = 10.0
    temperature: tuple[float, float] = (1.0, 0.05)
    scale: tuple[float, float] = (1.0, 10.0)
    neurons: int = 64

    limits: ClassVar = {"at least 1": "width hidden mamba_heads heads depths neurons"}

    def faults(self) -> Iterator[tuple[Any, str]]:
        options = (self.width, self.hidden, self.mamba_heads, self.heads, self.depths)
        yield not all(options), "each axis needs an option; expected at least one number each"
        yield self.depths and max(self.depths) > len(self.depth), f"depths {self.depths} of {len(self.depth)} layers"
        wrong = min(*self.temperature, *self.scale) <= 0 or not 0 <= self.cost_weight < math.inf
        yield wrong, "temperature and scale must be above 0, cost_weight finite and not below 0"

    def options(self, axis: str) -> tuple[int, ...]:
        """The choices of an axis of a budget; of `layers` how many."""
        return self.depths if axis == "layers" else getattr(self, axis)


class Place(NamedTuple):
    """What one choice is made for: an axis of the budget, and the layer where each layer has its own."""

    axis: str
    layer: int | None = None


KINDS = {"hidden": "relu2", "mamba_heads": "mamba2", "heads": "attention"}


def places(cfg: RouterConfig, parent: ModelConfig) -> list[Place]:
    """All choices of a router. Width and depth are the same for all layers, whatever the router."""
    found = [Place("width"), Place("layers")]
    for axis, kind in KINDS.items():
        layers = [place for place, its_kind, _ in full_sizes(parent) if its_kind == kind]
        found += [Place(axis, layer) for layer in layers] if cfg.heterogeneous else [Place(axis)]
    return found


class Router(nn.Module):
    """An MLP for each axis: one-hot target -> logits of each choice."""

    def __init__(self, cfg: RouterConfig, parent: ModelConfig, generator: Generator):
        super().__init__()
        check_reachable(cfg, parent)
        self.cfg, self.parent, self.places = cfg, parent, places(cfg, parent)
        self.into = nn.ParameterList()
        self.out = nn.ParameterList()
        self._parts = {
            (axis, option): masks(parent, Budget(**{axis: option}))
            for axis in ("width", *KINDS)
            for option in cfg.options(axis)
        }
        many = len(cfg.targets)
        for place in self.places:
            sizes = len(cfg.options(place.axis)), cfg.neurons
            self.into.append(nn.Parameter(torch.randn(cfg.neurons, many, generator=generator) / math.sqrt(many)))
            self.out.append(nn.Parameter(torch.randn(sizes, generator=generator) / math.sqrt(cfg.neurons)))

    def logits(self, target: int) -> dict[Place, Float[Tensor, " option"]]:
        """By choice, for the target of this number."""
        hidden = [F.leaky_relu(weight[:, target]) for weight in self.into]
        return {place: out @ h for place, out, h in zip(self.places, self.out, hidden, strict=True)}

    def draw(self, target: int, progress: float, generator: Generator) -> dict[Place, Choice]:
        """Choices at a moment of the training (0 to 1), with Gumbel noise."""
        low, high = self.cfg.temperature
        temperature = low * (high / low) ** progress
        scale = self.cfg.scale[0] + (self.cfg.scale[1] - self.cfg.scale[0]) * progress
        found = {}
        for place, logits in self.logits(target).items():
            uniform = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-9)
            soft = ((scale * logits - (-uniform.log()).log()) / temperature).softmax(-1)
            if self.cfg.mix == "straight-through":
                hard = F.one_hot(soft.argmax(), len(soft)).to(soft)
                soft = hard + soft - soft.detach()
            found[place] = soft
        return found

    def last(self, target: int) -> dict[Place, Choice]:
        """The choices at the end of the training, without noise."""
        sharp = self.cfg.scale[1] / self.cfg.temperature[1]
        return {place: (sharp * logits).softmax(-1) for place, logits in self.logits(target).items()}

    @torch.no_grad()
    def budget(self, target: int) -> Budget:
        """The budget of a target: the most likely option of each choice."""
        chosen = {p: self.cfg.options(p.axis)[int(logits.argmax())] for p, logits in self.logits(target).items()}
        fields: dict[str, Any] = {"width": chosen.pop(Place("width"))}
        fields["layers"] = tuple(sorted(self.cfg.depth[: chosen.pop(Place("layers"))]))
        for place, value in chosen.items():
            fields[place.axis] = value if place.layer is None else (*fields.get(place.axis, ()), value)
        return Budget(**fields)

    def masks(self, choices: dict[Place, Choice]) -> Masks:
        """The masks of the options, averaged by their shares."""
        cfg, found = self.parent, masks(self.parent, Budget())
        for place, shares in choices.items():
            options = self.cfg.options(place.axis)
            if place.axis == "layers":
                for layer in self.cfg.depth:
                    keep = torch.tensor([layer in self.cfg.depth[:count] for count in options], dtype=shares.dtype)
                    found[Axis("layer", layer)] = (keep @ shares)[None]
                continue
            parts = [self._parts[place.axis, option] for option in options]
            layers = [layer for layer, kind, _ in full_sizes(cfg) if kind == KINDS.get(place.axis)]
            own = layers if place.layer is None else [place.layer]
            for axis in parts[0]:
                if axis == WIDTH if place.axis == "width" else axis.layer in own and axis.name != "layer":
                    found[axis] = sum(share * part[axis] for share, part in zip(shares, parts, strict=True))
        return found

    def expected_parameters(self, choices: dict[Place, Choice]) -> Tensor:
        """Parameters at the expected size of each choice."""
        cfg = self.parent
        size = {p: shares @ shares.new_tensor(self.cfg.options(p.axis)) for p, shares in choices.items()}
        width, total = size[Place("width")], size[Place("width")]
        depth = choices[Place("layers")]
        for layer, kind, sizes in full_sizes(cfg):
            axis = next(axis for axis, its_kind in KINDS.items() if its_kind == kind)
            own = size[Place(axis, layer if self.cfg.heterogeneous else None)]
            keep = depth.new_tensor([layer in self.cfg.depth[:count] for count in self.cfg.depths])
            total = total + (keep @ depth) * layer_parameters(cfg, kind, (own, *sizes[1:]), width)
        return total

    def cost_loss(self, choices: dict[Place, Choice], target: int) -> Tensor:
        """|expected parameters - wanted| / parameters of the parent."""
        whole = cost(self.parent).parameters
        return (self.expected_parameters(choices) / whole - self.cfg.targets[target]).abs()


def share_of(parent: ModelConfig, budget: Budget) -> float:
    """The share of the parent's parameters that a budget keeps."""
    return cost(sliced_config(parent, budget)).parameters / cost(parent).parameters


def cells(cfg: RouterConfig) -> list[Budget]:
    """Every budget that a homogeneous router can choose."""
    found = []
    for width, hidden, mamba_heads, heads, depth in itertools.product(
        cfg.width, cfg.hidden, cfg.mamba_heads, cfg.heads, cfg.depths
    ):
        layers = tuple(sorted(cfg.depth[:depth]))
        found.append(Budget(width=width, hidden=hidden, mamba_heads=mamba_heads, heads=heads, layers=layers))
    return found


def within(cfg: RouterConfig, parent: ModelConfig, target: float, most: float = 0.03) -> list[Budget]:
    """The budgets whose share of the parameters is the target, or up to `most` below it."""
    return [cell for cell in cells(cfg) if target - most <= share_of(parent, cell) <= target + 1e-9]


def check_reachable(cfg: RouterConfig, parent: ModelConfig) -> None:
    """ValueError for a target that no budget comes near, with the range that can be reached."""
    ends = []
    for pick in (min, max):
        sizes = {axis: pick(cfg.options(axis)) for axis in ("width", *KINDS)}
        ends.append(Budget(layers=tuple(sorted(cfg.depth[: pick(cfg.depths)])), **sizes))
    least, most = (share_of(parent, end) for end in ends)
    if bad := [target for target in cfg.targets if not least <= target <= most + 1e-9]:
        raise ValueError(f"targets holds {bad}; these options reach {least:.2f} to {most:.2f} of the parent")


def settled(cfg: RouterConfig, parent: ModelConfig, steps: int = 150, seed: int = 0) -> list[float]:
    """The share that a router keeps at each target after a small training without a model, in a second.

    In place of a model's loss stands 1 - share kept: the more is kept, the better.
    """
    noise = Generator().manual_seed(seed)
    router = Router(cfg, parent, noise)
    optimizer = torch.optim.Adam(router.parameters(), lr=1e-2)
    whole = cost(parent).parameters
    for step in range(steps):
        loss = torch.zeros(())
        for i in range(len(cfg.targets)):
            choices = router.draw(i, step / steps, noise)
            kept = router.expected_parameters(choices) / whole
            loss = loss + 1 - kept + cfg.cost_weight * router.cost_loss(choices, i)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [share_of(parent, router.budget(i)) for i in range(len(cfg.targets))]
