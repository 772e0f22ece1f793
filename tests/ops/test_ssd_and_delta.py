"""The chunked forms are the recurrences, values and gradients, at any length; and what both are special cases of."""

import pytest
import torch
from torch import Generator

from lablib.ops.delta import delta_chunked, delta_recurrence
from lablib.ops.ssd import ssd_chunked, ssd_recurrence


def draw(time: int, seed: int = 0, state: int = 3, dim: int = 5):
    generator = Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    q, k, v = normal(2, 2, time, state), normal(2, 2, time, state), normal(2, 2, time, dim)
    beta, log_decay = normal(2, 2, time).sigmoid(), -normal(2, 2, time).exp()
    return [x.requires_grad_() for x in (q, k / k.norm(dim=-1, keepdim=True), v, beta, log_decay)]


def ssd(q, k, v, beta, log_decay, state, **chunk):
    return (ssd_chunked if chunk else ssd_recurrence)(q, k, v, log_decay, None if state is None else state.mT, **chunk)


def delta(q, k, v, beta, log_decay, state, **chunk):
    return (delta_chunked if chunk else delta_recurrence)(q, k, v, beta, log_decay, state, **chunk)


@pytest.mark.parametrize("rule", [ssd, delta])
@pytest.mark.parametrize(("time", "chunk"), [(1, 4), (4, 4), (7, 4), (12, 5), (9, 1), (6, 16)])
@pytest.mark.parametrize("begun", [False, True])
def test_chunks_are_the_recurrence_in_values_and_gradients(rule, time, chunk, begun):
    inputs = draw(time)
    state = torch.randn(2, 2, 3, 5, dtype=torch.float64, generator=Generator().manual_seed(9)) if begun else None
    weights = Generator().manual_seed(5)
    results = []
    for how in ({}, {"chunk": chunk}):
        out, end = rule(*inputs, state, **how)
        weights.manual_seed(5)
        loss = sum((part * torch.randn(part.shape, generator=weights, dtype=part.dtype)).sum() for part in (out, end))
        results.append([out, end, *torch.autograd.grad(loss, inputs, allow_unused=True)])
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rule", [ssd, delta])
def test_a_sequence_read_in_two_parts_is_the_sequence_read_at_once(rule):
    inputs = draw(11)
    whole, end = rule(*inputs, None, chunk=4)
    first, state = rule(*(x[:, :, :6] for x in inputs), None, chunk=4)
    second, after = rule(*(x[:, :, 6:] for x in inputs), state if rule is delta else state.mT, chunk=4)
    torch.testing.assert_close(torch.cat([first, second], dim=2), whole)
    torch.testing.assert_close(after, end)


@pytest.mark.parametrize("rule", [ssd, delta])
def test_a_very_strong_decay_overflows_nothing(rule):
    q, k, v, beta, log_decay = draw(16)
    out, end = rule(q, k, v, beta, log_decay.detach() - 500, None, chunk=8)
    gradients = torch.autograd.grad(out.sum() + end.sum(), [q, k, v])
    assert all(torch.isfinite(x).all() for x in (out, end, *gradients))


@pytest.mark.parametrize("rule", [ssd, delta])
def test_chunks_of_no_token_are_refused(rule):
    with pytest.raises(ValueError, match="at least 1 token"):
        rule(*draw(4), None, chunk=0)


def test_without_decay_the_state_space_is_linear_attention():
    q, k, v, _, _ = draw(7)
    out, _ = ssd_chunked(q, k, v, torch.zeros(2, 2, 7, dtype=q.dtype), chunk=3)
    torch.testing.assert_close(out, (q @ k.mT).tril() @ v)


def test_the_delta_rule_is_one_gradient_step_a_token_on_the_square_of_what_is_missing():
    """TTT with a linear inner model: S <- S - b grad |S^T k - v|^2 / 2 (arXiv 2407.04620, section 2)."""
    q, k, v, beta, _ = (x.detach() for x in draw(6))
    fast, out = torch.zeros(2, 2, 3, 5, dtype=q.dtype), []
    for t in range(6):
        fast = fast.requires_grad_()
        loss = ((k[:, :, t, None] @ fast - v[:, :, t, None]) ** 2).sum() / 2
        (gradient,) = torch.autograd.grad(loss, fast)
        fast = (fast - beta[:, :, t, None, None] * gradient).detach()
        out.append(q[:, :, t, None] @ fast)
    found, end = delta_chunked(q, k, v, beta, torch.zeros_like(beta), chunk=4)
    torch.testing.assert_close(found, torch.cat(out, dim=2))
    torch.testing.assert_close(end, fast)


def test_linear_attention_is_one_gradient_step_from_zero_on_all_that_was_seen():
    """Gradients taken at W_0 = 0, rate 1/2 on |W k - v|^2: W_t = sum of v k^T (arXiv 2407.04620, theorem 1)."""
    q, k, v, _, _ = (x.detach() for x in draw(6))
    out = []
    for t in range(6):
        start = torch.zeros(2, 2, 3, 5, dtype=q.dtype, requires_grad=True)
        loss = ((k[:, :, : t + 1] @ start - v[:, :, : t + 1]) ** 2).sum()
        (gradient,) = torch.autograd.grad(loss, start)
        out.append(q[:, :, t, None] @ (-0.5 * gradient))
    found, _ = ssd_chunked(q, k, v, torch.zeros(2, 2, 6, dtype=q.dtype), chunk=4)
    torch.testing.assert_close(found, torch.cat(out, dim=2))
