"""Every plan in 16 bits on a CPU: forward, backward, in pieces, streamed; as near to float32 as the type is fine."""

import pytest
import torch
from torch import Generator

from lablib.nn.model import LanguageModel
from lablib.nn.plan import MIXERS, ModelConfig
from lablib.nn.streaming import edited, encode, planted, read

WORDS = [word for word in MIXERS if word != "hsa"]
PLANS = [*WORDS, "mlp", "relu2", "swa+prime", "2*swa", "memory hsa", "swa memory swa+hsa"]
PLANS += ["mamba2 memory delta+hsa kvb"]
# a chunk that is just chosen or just not would make another text of it: all are chosen
COVERING = {"top_k": 99, "window": 6, "vocab": 20, "width": 16}
OPTIONS = [{"fusion": "stick-breaking"}, {"fusion": "concat"}, {"landmark": "mean"}, {"hsa_rope": True}]
OPTIONS += [{"num_kv_heads": 2}, {"bypass": False}, {"norm": "sandwich"}]
TOKENS = torch.randint(20, (2, 45), generator=Generator().manual_seed(3))
TYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def build(plan: str, **options) -> LanguageModel:
    return LanguageModel(ModelConfig(plan=plan, **{**COVERING, **options}), Generator().manual_seed(1))


def assert_near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Within ten steps of the type, as a share of the norm."""
    assert torch.isfinite(found).all()
    assert float((found.float() - wanted).norm() / wanted.norm()) < 10 * torch.finfo(found.dtype).eps


@TYPES
@pytest.mark.parametrize(
    ("plan", "options"), [*((plan, {}) for plan in PLANS), *(("swa memory swa+hsa", o) for o in OPTIONS)], ids=str
)
def test_logits_and_gradients_are_those_of_float32_whole_and_in_pieces(plan, options, dtype):
    model, losses = build(plan, **options), []
    with torch.no_grad():
        wanted = model(TOKENS)
    gradients = []
    for kind in (torch.float32, dtype):
        model.zero_grad()
        losses.append(model.to(kind)(TOKENS).float().square().mean())
        losses[-1].backward()
        gradients.append({name: p.grad.float().clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    whole, seen = (torch.cat([g.flatten() for g in part.values()]) for part in gradients)
    assert torch.isfinite(seen).all()
    assert float((seen - whole).norm() / whole.norm()) < 30 * torch.finfo(dtype).eps
    with torch.no_grad():
        logits = model(TOKENS)
        first, state = model.read(TOKENS[:, :17])
        rest, _ = model.read(TOKENS[:, 17:], state)
    assert logits.dtype == first.dtype == dtype
    assert_near(logits, wanted)
    assert_near(torch.cat([first, rest], 1), wanted)


@TYPES
@pytest.mark.parametrize("plan", ["swa swa", "memory hsa", "swa memory swa+hsa"])
def test_a_stream_in_sixteen_bits_is_that_of_float32(plan, dtype):
    model, text, tails = build(plan), TOKENS.reshape(1, -1), TOKENS[:, :11]
    starts, plants = torch.tensor([[3, 40], [86, 12]]), TOKENS[:, :8].reshape(2, 2, 4)
    found = []
    for kind in (torch.float32, dtype):
        stream = encode(model.to(kind), text, segment=16)
        answers = [read(model, stream, tails), read(model, planted(model, stream, text, starts, plants), tails)]
        with edited(model, stream, text, starts[0], plants[0]) as now:
            answers.append(read(model, now, tails, keep=3))
        found.append(answers)
    for wanted, logits in zip(*found, strict=True):
        assert logits.dtype == dtype
        assert_near(logits, wanted)
    if stream.memory is not None:
        assert {part.dtype for part in stream.memory} == {dtype}
