"""What small changes of one base are used for. Three seeds: exploratory.

`efficiency/bits`   a base in few bits: what is lost, LoRA on top of it, and what distillation from the base brings back
`efficiency/users`  four users with languages of their own: an adapter each, one for all, or averaged in rounds
"""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lablib.core.config import Config, by_scale
from lablib.core.experiment import experiment
from lablib.core.measure import num_parameters
from lablib.data.batch import Batch
from lablib.efficiency.experiments.tuning import BEST, method
from lablib.efficiency.tuning import TuneConfig, excess_of, rows_drawn, trained_base, tuning_rows
from lablib.efficiency.users import UsersConfig, distances, served
from lablib.nn.model import LanguageModel
from lablib.nn.rounding import with_rounded
from lablib.nn.tuning import tuned
from lablib.ops.divergences import forward_kl
from lablib.train.loop import fit
from lablib.train.losses import next_token_loss, weighted_mean

LINEAR = 15  # linear maps of the model: 14 in its layers, and the head


@dataclass(frozen=True, kw_only=True)
class BitsConfig(Config):
    """A base in `bits` bits a weight; 32: as it is. `tune` tunes it with LoRA."""

    bits: int = 8
    seed: int = 0
    tune: TuneConfig = TuneConfig()

    limits: ClassVar = {"at least 2": "bits"}
    scales: ClassVar = {"smoke": {"tune": TuneConfig.at("smoke")}}


def bits_arms(scale: str) -> list[BitsConfig]:
    """As it is, and 8 to 2 bits."""
    tune = TuneConfig.at(scale).replace(train__optim__lr=BEST["LoRA", "transitions"])
    return by_scale(
        scale, [BitsConfig(bits=bits, tune=tune) for bits in (32, 8, 4, 3, 2)], lab=(0, 2), smoke=(2,), seeds=3
    )


@experiment("efficiency/bits", version=1, arms=bits_arms)
def bits(cfg: BitsConfig) -> pd.DataFrame:
    """Three rows, `what`: the base "rounded"; "tuned" on the new language by tokens; "distilled" on the old one.

    Distilled: the adapter learns the probabilities of the base as it was, on as many rows of the old language.
    """
    own = cfg.tune.replace(seed=cfg.seed)
    base, excess = trained_base(own), excess_of(own)
    small, stored = with_rounded(base, "*", cfg.bits, count=LINEAR)
    rows = [excess.read(small) | {"what": "rounded"}]
    before, _ = own.languages()
    teacher = base.requires_grad_(False)
    old = before(own.base.length, len(tuning_rows(own).tokens), own.stream("rows"))

    def distil(model: LanguageModel, batch: Batch):
        logits = model(batch.tokens)
        return weighted_mean(forward_kl(teacher(batch.tokens), logits), batch.weight), logits

    for what, kept, objective in (("tuned", tuning_rows(own), next_token_loss), ("distilled", old, distil)):
        model = tuned(small, own.tuning, own.stream("noise"))
        fit(model, rows_drawn(kept), own.train, own.stream("calibration"), objective=objective)
        rows.append(excess.read(model.eval()) | {"what": what})
    return pd.DataFrame(rows).assign(stored=stored)


def users_arms(scale: str) -> list[UsersConfig]:
    """In full and by LoRA: each alone, one for all, averaged in ten rounds."""
    arms = []
    for way in ("full", "LoRA"):
        tune = TuneConfig.at(scale, tuning=method(way)).replace(train__optim__lr=BEST[way, "transitions"])
        arms += [
            UsersConfig.at(scale, name=f"{how}, {way}", tune=tune, how=how)
            for how in ("each alone", "one for all", "averaged")
        ]
    return by_scale(scale, arms, lab=(0, 3), smoke=(2, 5), seeds=3)


@experiment("efficiency/users", version=1, arms=users_arms)
def users(cfg: UsersConfig) -> pd.DataFrame:
    """A row a user: how far its model is from its language, and how much is kept for all users beside the base.

    `kept` (bytes): every tuning once; `sent` (bytes): what a user sends and gets in all rounds.
    """
    models = served(cfg)
    each = 4 * num_parameters(models[0])
    kept = each * len({id(model) for model in models})
    sent = 2 * cfg.rounds * each if cfg.how == "averaged" else 0
    rows = pd.DataFrame(distances(cfg, models)).assign(user=range(cfg.users), kept=kept, sent=sent)
    return rows.assign(base_excess=[row["excess"] for row in distances(cfg, [trained_base(cfg.user(0))] * cfg.users)])
