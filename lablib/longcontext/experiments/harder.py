"""Harder haystacks: what the seesaw's models do when the needle is not the only thing that looks like one.

The training of `longcontext/seesaw`, on four kinds of rows: one needle as there, six needles, two needles whose
two-token keys share their first token, and one needle in real text. Then questions under conditions that training
never showed: distractors whose number grows with the haystack, and needles written in another form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from lablib.core.config import grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.questions import check_questions
from lablib.longcontext.experiments.seesaw import SeesawConfig, measured_table, over_text, text_of, train_seesaw
from lablib.longcontext.seesaw import ask, exact_and_chunks


@dataclass(frozen=True, kw_only=True)
class HarderConfig(SeesawConfig):
    """A seesaw model, asked with one distractor every so many tokens (`tokens_per_distractor`) and in other forms."""

    lengths: tuple[int, ...] = (64, 1024, 16_384, 65_536)
    tokens_per_distractor: int = 64

    limits: ClassVar = {"at least 1": "tokens_per_distractor"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield from super().faults()
        yield not self.lengths, "lengths is empty; expected at least one"
        for length in self.lengths:
            for options in self.conditions(length).values():
                check_questions(self.data, length, **{key: n for key, n in options.items() if key != "form"})

    def conditions(self, length: int) -> dict[str, dict[str, Any]]:
        """By name, how the questions of a length are drawn."""
        found: dict[str, dict[str, Any]] = {"one needle": {}}
        if self.data.num_pairs > 1:
            found["needles as in training"] = {"num_needles": self.data.num_pairs}
        found["one distractor"] = {"distractors": 1}
        found["growing distractors"] = {"distractors": length // self.tokens_per_distractor}
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
    # the seesaw arm of the same training, so that its model is trained once
    plain = SeesawConfig(seed=cfg.seed, objective=cfg.objective, model=cfg.model, data=cfg.data, train=cfg.train)
    (model, _, _), text, rows = train_seesaw(plain), text_of(cfg), []
    for length in cfg.lengths:
        for name, options in cfg.conditions(length).items():
            random = generator("harder questions", cfg.seed)
            found = ask(model, cfg.data, length, cfg.haystacks, cfg.questions, random, text, **options)
            row = {"condition": name, "length": length, **exact_and_chunks(found)}
            rows.append(row | {"distractors": options.get("distractors", 0)})
    return measured_table(cfg, model, pd.DataFrame(rows))
