"""In 16 bits the chunked recurrences are as near to the truth as the recurrences, at any decay."""

import pytest
import torch
from torch import Generator

from lablib.ops.delta import delta_chunked, delta_recurrence
from lablib.ops.hsa import fusion_weights
from lablib.ops.ssd import ssd_chunked, ssd_recurrence

RULES = {"ssd": (ssd_recurrence, ssd_chunked), "delta": (delta_recurrence, delta_chunked)}
# rates of log decay: next to none, that of a trained model, so strong that nothing outlives a chunk
DECAYS = {"weak": 0.01, "strong": 1.0, "very strong": 5.0}


def draw(rule: str, decay: float, dtype: torch.dtype, time: int = 128) -> list[torch.Tensor]:
    generator = Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    q, k, v = (normal(1, 2, time, 16) for _ in range(3))
    beta, log_decay = normal(1, 2, time).sigmoid(), -decay * normal(1, 2, time).exp()
    operands = [q, k / k.norm(dim=-1, keepdim=True), v, *([beta] if rule == "delta" else []), log_decay]
    return [x.to(dtype) for x in operands]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS.keys())
@pytest.mark.parametrize("rule", RULES)
def test_chunks_are_at_most_twice_as_far_from_the_truth_as_the_recurrence(rule, decay, dtype):
    operands, (recurrence, chunked) = draw(rule, decay, dtype), RULES[rule]
    truth = recurrence(*(x.double() for x in operands))

    def errors(found: tuple[torch.Tensor, torch.Tensor]) -> list[float]:
        assert all(x.dtype == dtype for x in found)
        return [float((x.double() - y).norm() / y.norm()) for x, y in zip(found, truth, strict=True)]

    allowed = [2 * error for error in errors(recurrence(*operands))]
    for chunk in (1, 16, 50, 64, 200):
        assert all(error <= most for error, most in zip(errors(chunked(*operands, chunk=chunk)), allowed, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_gradients_of_chunks_in_sixteen_bits_are_those_of_the_recurrence_in_double(rule):
    operands, (recurrence, chunked) = draw(rule, 1.0, torch.bfloat16), RULES[rule]
    found = []
    for run, dtype in ((recurrence, torch.float64), (chunked, torch.bfloat16)):
        leaves = [x.to(dtype).requires_grad_() for x in operands]
        found.append(torch.autograd.grad(run(*leaves)[0].double().square().sum(), leaves))
    for wanted, gradient in zip(*found, strict=True):
        assert float((gradient.double() - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("rule", RULES)
def test_a_text_in_sixteen_bits_goes_on_from_its_state(rule):
    operands, (_, chunked) = draw(rule, 0.1, torch.bfloat16), RULES[rule]
    whole, end = chunked(*operands)
    first, state = chunked(*(x[:, :, :70] for x in operands))
    second, after = chunked(*(x[:, :, 70:] for x in operands), state)
    torch.testing.assert_close(torch.cat([first, second], 2), whole, rtol=0.02, atol=0.02)
    torch.testing.assert_close(after, end, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("fusion", ["softmax", "stick-breaking"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_slots_without_a_chunk_weigh_nothing_in_sixteen_bits(fusion, dtype):
    scores = torch.tensor([[-torch.inf, 0.5, 2.0], [-torch.inf] * 3], dtype=dtype)
    wanted = fusion_weights(scores.double(), fusion)
    torch.testing.assert_close(fusion_weights(scores, fusion).double(), wanted, rtol=0.01, atol=0)
    assert not wanted[1].any()
