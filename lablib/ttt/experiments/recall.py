"""The price: what was said once (arXiv 2512.23675, section 3.5 and table 2), and what the outer loop makes of it.

`ttt/recall`     trained with questions that the window answers, and asked at any distance: who reads better need not
                 remember. Or trained with questions at any distance: the outer loop decides what is worth storing.
`ttt/taught`     the first of these, trained on with questions at any distance: now attention has learnt to look
`ttt/capacity`   how many facts fit, by the number of fast weights (exploratory)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.facts import Facts, FactsConfig
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.evaluate import by_sequences
from lablib.ttt.baselines import BASE, at_size, baseline, size_of
from lablib.ttt.e2e import TTTModel
from lablib.ttt.train_and_evaluate import RunConfig, build, read, spent, train

NEAR, ANYWHERE = "near questions", "questions anywhere"
TAUGHT = "near questions, then anywhere"
REACHES = ((3, 12), (13, 30), (31, 60), (61, 120), (121, 240))  # tokens from a fact to its question
COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class RecallConfig(RunConfig):
    """A model trained on texts with facts; `asked` texts for each distance, or each number of facts."""

    model: ModelConfig = BASE.replace(vocab=FactsConfig().vocab, window=64)
    facts: FactsConfig = FactsConfig()
    questions: str = NEAR
    asked: int = 256
    counts: tuple[int, ...] = ()

    scales: ClassVar = RunConfig.scales | {"smoke": {**RunConfig.scales["smoke"], "length": 64, "asked": 4}}
    limits: ClassVar = {"at least 1": "asked counts"}

    @property
    def text_vocab(self) -> int:
        return self.facts.vocab


def recall_arm(scale: str, name: str, questions: str, **sizes: Any) -> RecallConfig:
    """A model of `lablib/ttt/baselines.py` on texts with facts, with seed 0."""
    like = baseline(scale, name, steps=800 if name == "full attention" else 400, rate=1e-2)
    # a window of a quarter of the text, and chunks as long: near questions are the window's, not the inner loop's
    sizes = {"vocab": FactsConfig().vocab, "window": 64, **sizes}
    shape = at_size(like.model.replace(**sizes), size_of(BASE.replace(vocab=sizes["vocab"])))
    farthest = 12 if questions == NEAR else 240
    own = {"name": name, "learns": like.learns, "inner": like.inner.replace(chunk=64), "train": like.train}
    return RecallConfig.at(scale, **own, model=shape, questions=questions).replace(facts__farthest=farthest)


def recall_arms(scale: str) -> list[RecallConfig]:
    """Three models, both kinds of questions, five seeds."""
    names = ("sliding window", "full attention", "TTT-E2E")
    arms = [recall_arm(scale, name, questions) for questions in (NEAR, ANYWHERE) for name in names]
    return by_scale(scale, arms, lab=(2, 5))


def taught_arms(scale: str) -> list[RecallConfig]:
    """The same models, five seeds, trained twice as long; at smaller scales TTT-E2E alone."""
    arms = [cfg.replace(questions=TAUGHT) for cfg in recall_arms("full") if cfg.questions == ANYWHERE]
    return arms if scale == "full" else [recall_arms(scale)[-1].replace(questions=TAUGHT)]


def capacity_arms(scale: str) -> list[RecallConfig]:
    """TTT-E2E with fast MLPs of three widths, trained with eight facts anywhere, asked with 1 to 16; three seeds."""
    many = {"facts__facts": 8, "counts": COUNTS} if scale != "smoke" else {"facts__facts": 2, "counts": (1, 2)}
    arms = [recall_arm(scale, "TTT-E2E", ANYWHERE, prime=prime).replace(**many) for prime in (4, 16, 51)]
    return by_scale(scale, arms, lab=1, seeds=3)


def spent_twice(cfg: RecallConfig) -> dict[str, float | int]:
    """The budget columns of two trainings of the same size."""
    once = spent(cfg)
    return once | {name: 2 * once[name] for name in ("train_tokens", "train_flops")}


@experiment("ttt/taught", version=1, arms=taught_arms, counted=spent_twice)
def taught(cfg: RecallConfig) -> pd.DataFrame:
    """The same as `ttt/recall`; the table's training is the second one, its tokens and FLOPs are of both."""
    near = cfg.replace(questions=NEAR, facts__farthest=12)
    model = build(near)
    train(near, model, draw=Facts(near.facts))
    return train_and_ask(cfg, model, stream="second training")


def train_and_ask(
    cfg: RecallConfig, model: LanguageModel | TTTModel | None = None, *, stream: str = "training"
) -> pd.DataFrame:
    """Rows with phase "train" by step, "recall" by distance or, where `counts` are given, by number of facts.

    They have the loss of all but the answers, too.
    """
    model = model or build(cfg)
    table = train(cfg, model, draw=Facts(cfg.facts), stream=stream).assign(phase="train")
    model.eval()
    kinds: list[dict[str, int]] = [{"facts": count} for count in cfg.counts]
    kinds = kinds or [{"nearest": near, "farthest": far} for near, far in REACHES if far <= cfg.length]
    rows = [{"phase": "recall", **kind, **ask(cfg, model, cfg.facts.replace(**kind))} for kind in kinds]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True).assign(
        fast_weights=model.num_fast if isinstance(model, TTTModel) else 0
    )


recall = experiment("ttt/recall", version=1, arms=recall_arms, counted=spent)(train_and_ask)
capacity = experiment("ttt/capacity", version=1, arms=capacity_arms, counted=spent)(train_and_ask)


@torch.no_grad()
def ask(cfg: RecallConfig, model: LanguageModel | TTTModel, facts: FactsConfig) -> dict[str, float]:
    """Share of answers that are the most likely token, and the mean loss of the tokens that are no answers."""
    batch = Facts(facts)(cfg.length, cfg.asked, generator("questions", cfg.seed))
    logits = by_sequences(lambda part: read(model, part).logits, batch)
    answers = batch.evidence >= 0
    hits = (logits.argmax(-1) == batch.targets)[answers].float().mean()
    losses = -logits.log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
    return {"exact": float(hits), "other_loss": float(losses[~answers].mean()), "answers": float(answers.sum())}
