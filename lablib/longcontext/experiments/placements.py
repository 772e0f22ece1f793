"""Questions with a placement drawn for each: do the end windows differ, and which needles are missed?

In `longcontext/seesaw` the needles of a haystack share one offset, so its 200 questions are four clusters. Here each
question has a part of the depth and an offset of its own. A chunk border may part a needle between its key and its
value: then the chunk that holds the value does not hold the key.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from lablib.core.config import by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.questions import check_questions
from lablib.longcontext.experiments.seesaw import SeesawConfig, measured_table, train_seesaw
from lablib.longcontext.seesaw import ask, mean_of


@dataclass(frozen=True, kw_only=True)
class PlacementsConfig(SeesawConfig):
    """A seesaw model; each haystack is cut into as many parts of the depth as it gets questions."""

    lengths: tuple[int, ...] = (1024, 16_384, 65_536)

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield from super().faults()
        for length in self.lengths:
            check_questions(self.data, length, num_needles=self.data.num_pairs, strata=self.questions)


def placements_arms(scale: str) -> list[PlacementsConfig]:
    """Both end windows, one needle a row and six; ten seeds."""
    base = PlacementsConfig.at(scale)
    arms = grid(base, data__num_pairs=[1, 6], model__window=[8, 64])
    return by_scale(scale, arms, lab=(0, 1), smoke=(0, 3), seeds=10)


@experiment("longcontext/placements", version=1, arms=placements_arms)
def placements(cfg: PlacementsConfig) -> pd.DataFrame:
    """By length: exact recall of all questions, of needles that a chunk border parts, and of whole ones."""
    # the seesaw arm of the same training, so that its model is trained once
    plain = SeesawConfig(seed=cfg.seed, objective=cfg.objective, model=cfg.model, data=cfg.data, train=cfg.train)
    (model, _, _), rows = train_seesaw(plain), []
    for length in cfg.lengths:
        asked = {"num_needles": cfg.data.num_pairs, "strata": cfg.questions}
        random = generator("harder questions", cfg.seed)
        found = ask(model, cfg.data, length, cfg.haystacks, cfg.questions, random, **asked)
        parted = (length - 1 - found["distance"]) % cfg.model.chunk == 0  # the value begins a chunk
        hit = found["hit"]
        row = {"exact": mean_of(hit), "exact_parted": mean_of(hit[parted]), "exact_whole": mean_of(hit[~parted])}
        rows.append({"length": length, "parted_share": float(parted.mean()), **row})
    return measured_table(cfg, model, pd.DataFrame(rows))
