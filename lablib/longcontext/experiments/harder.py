"""Harder haystacks: what the seesaw's models do when the needle is not the only thing that looks like one.

The training of `longcontext/seesaw`, on four kinds of rows: one needle as there, six needles, two needles whose
two-token keys share their first token, and one needle in real text. Then questions under conditions that training
never showed: distractors whose number grows with the haystack, and needles written in another form.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from lablib.core.config import grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.text import standard_library
from lablib.longcontext.experiments.seesaw import SeesawConfig, over_text, spent, train_seesaw
from lablib.longcontext.seesaw import ask
from lablib.nn.model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class HarderConfig(SeesawConfig):
    """A seesaw model, asked with one distractor every so many tokens (`tokens_per_distractor`) and in other forms."""

    lengths: tuple[int, ...] = (64, 1024, 16_384, 65_536)
    tokens_per_distractor: int = 64

    def conditions(self, length: int) -> dict[str, dict[str, Any]]:
        """By name, how the questions of a length are drawn."""
        found: dict[str, dict[str, Any]] = {"one needle": {}}
        if self.data.num_pairs > 1:
            found["needles as in training"] = {"num_needles": self.data.num_pairs}
        for name, number in (("one distractor", 1), ("growing distractors", length // self.tokens_per_distractor)):
            found[name] = {"distractors": number}
        if self.data.key_tokens == 1:
            found |= {"no marker": {"form": "unmarked"}, "a gap in the needle": {"form": "gapped"}}
        return found


def harder_arms(scale: str) -> list[HarderConfig]:
    """Both end windows, five seeds: one needle a row, six, keys that share a token, real text."""
    base = HarderConfig.at(scale)
    ends = {"model__window": [8, 64], "seed": range({"smoke": 1, "lab": 2, "full": 5}[scale])}
    shared = base.replace(data__key_tokens=2, data__shared_keys=True, data__num_pairs=2)
    longer = shared.replace(train__steps=2 * base.train.steps)
    kinds = {"smoke": [base, shared], "lab": [base, base.replace(data__num_pairs=6)]}
    kinds["full"] = [*kinds["lab"], longer, over_text(base)]
    return [arm for kind in kinds[scale] for arm in grid(kind, **ends)]


@experiment("longcontext/harder", version=1, arms=harder_arms)
def harder(cfg: HarderConfig) -> pd.DataFrame:
    """Questions by condition and length to one model: a row each."""
    model, _, _ = train_seesaw(plain(cfg))
    text = standard_library("held-out").tokens if cfg.data.haystack == "text" else None
    rows = [
        {"condition": name, "length": length, **ask_under(model, cfg, length, options, text)}
        for length in cfg.lengths
        for name, options in cfg.conditions(length).items()
    ]
    table = pd.DataFrame(rows).assign(**spent(model, cfg))
    if text is not None:
        table.attrs["corpus"] = standard_library("held-out").corpus
    return table


def plain(cfg: HarderConfig) -> SeesawConfig:
    """The seesaw arm of the same training, so that its model is trained once."""
    return SeesawConfig(seed=cfg.seed, objective=cfg.objective, model=cfg.model, data=cfg.data, train=cfg.train)


def ask_under(
    model: LanguageModel, cfg: HarderConfig, length: int, options: dict[str, Any], text: torch.Tensor | None
) -> dict[str, float]:
    """Means over the questions of one condition and length."""
    random = generator("harder questions", cfg.seed)
    found = ask(model, cfg.data, length, cfg.haystacks, cfg.questions, random, text, **options)
    seen = found["visible"] > 0
    return {
        "exact": float(found["hit"].mean()),
        "chunk_recall": float(found["chunk_recall"][seen].mean()) if seen.any() else float("nan"),
        "distractors": options.get("distractors", 0),
    }
