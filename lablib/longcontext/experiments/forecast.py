"""What 4K tokens foretell: the miss rate at every length up to 64M, from the tail of the noise scores.

Recorded before `longcontext/long_range` is measured. Weaker readers are part of it: models that miss nothing would not
put a law to the test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import pandas as pd

from lablib.core.config import grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.retrieval import RetrievalConfig
from lablib.data.text import Text, long_text
from lablib.longcontext.experiments.reader import ReaderConfig, reader_arms, reader_fields, sources, trained_reader
from lablib.longcontext.long_range import gaussian_tail, miss_rate, pareto_tail, sample_scores
from lablib.nn.model import LanguageModel

LENGTHS = tuple(64 * 4**i for i in range(11))  # 64 to 64M
HAYSTACKS = ("synthetic", "text")
ROOM = 1 << 20  # tokens of text beyond a haystack, so that seeds begin at different places


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(ReaderConfig):
    """A reader and a haystack: scores of `sampled_questions` on each of `sampled_haystacks` of `sampled_length`."""

    haystack: Literal["synthetic", "text"] = "synthetic"
    sampled_length: int = 4096
    sampled_haystacks: int = 16
    sampled_questions: int = 25

    scales: ClassVar = {
        "smoke": ReaderConfig.scales["smoke"] | {"sampled_length": 512, "sampled_haystacks": 2, "sampled_questions": 5}
    }

    @property
    def asked_of(self) -> RetrievalConfig:
        """The task in the haystack of this configuration."""
        return sources(self.data)[self.haystack == "text"]


def forecast_arms(scale: str) -> list[ForecastConfig]:
    """Every reader in both haystacks."""
    base = ForecastConfig.at(scale)
    return [arm for cfg in reader_arms(scale) for arm in grid(base.replace(**reader_fields(cfg)), haystack=HAYSTACKS)]


@experiment("longcontext/forecast", version=1, arms=forecast_arms)
def forecast(cfg: ForecastConfig) -> pd.DataFrame:
    """A row a length: chunks, and the predicted miss rate by the generalised Pareto and by the normal tail."""
    predict = foretell(trained_reader(cfg), cfg)
    table = pd.DataFrame([{"length": length, **predict(length)} for length in LENGTHS])
    if (text := text_for(cfg, cfg.sampled_length)) is not None:
        table.attrs["corpus"] = text.corpus
    return table


def text_for(cfg: ForecastConfig, length: int) -> Text | None:
    """Text for a haystack of that length and room for it to begin anywhere; None where the haystack is drawn."""
    return long_text(length + ROOM) if cfg.haystack == "text" else None


def foretell(model: LanguageModel, cfg: ForecastConfig) -> Callable[[int], dict[str, float]]:
    """A function from a length in tokens to the predicted miss rates there."""
    text = text_for(cfg, cfg.sampled_length)
    sampled, random = (cfg.sampled_length, cfg.sampled_haystacks, cfg.sampled_questions), generator("scores", cfg.seed)
    sample = sample_scores(model, cfg.asked_of, *sampled, random, None if text is None else text.tokens)
    tails = {"pareto_miss": pareto_tail(sample), "gaussian_miss": gaussian_tail(sample)}

    def predict(length: int) -> dict[str, float]:
        chunks = length // cfg.model.chunk
        return {name: miss_rate(tail, chunks, cfg.model.top_k) for name, tail in tails.items()} | {"chunks": chunks}

    return predict
