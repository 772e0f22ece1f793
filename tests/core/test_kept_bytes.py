"""What autograd keeps is what torch's allocator says that a forward pass leaves behind."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lablib.core.measure import kept_bytes
from lablib.data.batch import every_next
from lablib.efficiency.experiments.memory import COUNTS, MemoryConfig
from lablib.nn.model import LanguageModel
from lablib.nn.tuning import TuningConfig, tuned
from lablib.train.losses import next_token_loss


def allocated_bytes(call):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        alive = call()
    del alive
    return sum(event.self_cpu_memory_usage for event in seen.events())


@pytest.mark.parametrize("method", COUNTS)
def test_the_bytes_of_a_step_are_those_that_torch_allocates(method, generator):
    cfg = MemoryConfig(method=method, rows=8, length=64)
    model = tuned(LanguageModel(cfg.model, generator), TuningConfig(method=method, count=COUNTS[method]), generator)
    batch = every_next(torch.randint(64, (8, 65), generator=generator))
    call = lambda: next_token_loss(model, batch)[0]  # noqa: E731
    call()
    kept = kept_bytes(call, *model.parameters(), *batch)
    assert kept == pytest.approx(allocated_bytes(call), rel=0.05)


def test_a_storage_counts_once_and_what_is_given_not_at_all():
    x, w = torch.ones(100, requires_grad=True), torch.ones(100, requires_grad=True)
    assert kept_bytes(lambda: x * w, x, w) == 0
    assert kept_bytes(lambda: x * w) == 800
    assert kept_bytes(lambda: (y := x.exp()) * y, x) == 400
    with torch.no_grad():
        assert kept_bytes(lambda: x * w) == 0
