"""A training run of eleven steps, small enough to be run many times."""

import functools

import torch
from torch import Generator, nn

from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.loop import TrainConfig, fit
from lablib.train.optim import OptimConfig
from lablib.train.schedule import ScheduleConfig

DATA = RetrievalConfig(length=24, max_distance=12, num_pairs=2, num_noise=4, num_keys=4, num_values=4)
TRAIN = TrainConfig(
    steps=11, batch=3, log_every=3, checkpoint_every=4, schedule=ScheduleConfig(warmup=2), optim=OptimConfig(clip=0.5)
)
draw = functools.partial(training_batch, DATA)


def make_model(seed: int = 0, **changes) -> LanguageModel:
    cfg = ModelConfig(**{"vocab": DATA.vocab, "width": 8, "window": 4, "chunk": 4, "top_k": 2, **changes})
    return LanguageModel(cfg, Generator().manual_seed(seed))


def run(model=None, cfg=TRAIN, seed: int = 7, **options):
    """Train, with all that is random settled by `seed`; the model and the table."""
    model = make_model() if model is None else model
    torch.manual_seed(seed)
    table = fit(model, options.pop("draw", draw), cfg, Generator().manual_seed(seed), **options)
    return model, table


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
