"""The laws of reading with an inner loop: what it equals, what it must not see, what its outer gradient is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Generator
from torch.func import functional_call

from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.ops import backend
from lablib.ttt.decode import begin, feed, sample
from lablib.ttt.e2e import InnerConfig, TTTModel
from lablib.ttt.train_and_evaluate import SANDWICH

SMALL = SANDWICH.replace(plan="swa swa+prime", vocab=7, width=8, hidden=8, prime=8, window=6, chunk=4)
BIGRAM = SMALL.replace(plan="mlp mlp")
TEXT = torch.randint(7, (2, 19), generator=Generator().manual_seed(4))
TOKENS, TARGETS = TEXT[:, :-1], TEXT[:, 1:]  # 18 tokens: four chunks of 4 and a shorter one


def build(cfg: ModelConfig = SMALL, **inner) -> TTTModel:
    torch.manual_seed(0)
    return TTTModel(
        LanguageModel(cfg, Generator().manual_seed(1)), InnerConfig(**{"chunk": 4, "rate": 0.5, **inner})
    ).double()


ABOVE = ["swa+prime full", "full full+prime", "swa+prime mamba2", "swa+prime delta", "swa+prime kvb"]


def both(**inner) -> list[TTTModel]:
    fast = {"fast": "blocks.*.mlp.part", "count": 2}
    return [build(**inner), build(BIGRAM, **{"chunk": 1, **fast, **inner})]


@pytest.mark.parametrize("which", [0, 1])
def test_with_an_inner_rate_of_zero_it_is_the_base_model(which):
    model = both(rate=0.0)[which]
    torch.testing.assert_close(model.read(TOKENS, TARGETS).logits, model.base(TOKENS), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("which", [0, 1])
def test_the_first_chunk_is_that_of_the_base_model_and_the_next_is_not(which):
    model, size = both()[which], (4, 1)[which]
    learnt, plain = model.read(TOKENS, TARGETS).logits, model.base(TOKENS)
    torch.testing.assert_close(learnt[:, :size], plain[:, :size], rtol=1e-10, atol=1e-10)
    assert (learnt[:, size:] - plain[:, size:]).abs().amax(-1).min() > 1e-6


@pytest.mark.parametrize("which", [0, 1])
def test_the_future_changes_no_earlier_score_not_even_through_the_weights(which):
    model = both()[which]
    for place in (3, 4, 11, 18):
        other = TEXT.clone()
        other[:, place:] = (other[:, place:] + 1) % 7
        one, two = model.read(TOKENS, TARGETS), model.read(other[:, :-1], other[:, 1:])
        assert torch.equal(one.losses[:, : place - 1], two.losses[:, : place - 1])
        assert torch.equal(one.logits[:, :place], two.logits[:, :place])


@pytest.mark.parametrize("plan", ABOVE)
def test_every_mixer_above_fast_weights_keeps_the_laws(plan):
    cfg = SMALL.replace(plan=plan)
    still = build(cfg, rate=0.0)
    torch.testing.assert_close(still.read(TOKENS, TARGETS).logits, still.base(TOKENS), rtol=1e-9, atol=1e-9)
    model, other = build(cfg), TEXT.clone()
    other[:, 11:] = (other[:, 11:] + 1) % 7
    one, two = model.read(TOKENS, TARGETS), model.read(other[:, :-1], other[:, 1:])
    assert torch.equal(one.losses[:, :10], two.losses[:, :10])
    progress, parts = begin(model, 2), []
    for at, size in ((0, 5), (5, 1), (6, 12)):
        logits, progress = feed(model, progress, TOKENS[:, at : at + size])
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), one.logits.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("graph", [False, True])
def test_each_sequence_learns_alone(which, graph):
    model = both()[which]
    with torch.set_grad_enabled(graph):
        whole = model.read(TOKENS, TARGETS).losses
        alone = [model.read(TOKENS[i : i + 1], TARGETS[i : i + 1]).losses for i in range(2)]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("which", [0, 1])
def test_a_text_is_scored_alike_with_and_without_an_outer_gradient(which):
    for order in ("exact", "first"):
        model = both(order=order)[which]
        with torch.no_grad():
            without = model.read(TOKENS, TARGETS)
        torch.testing.assert_close(without.losses, model.read(TOKENS, TARGETS).losses, rtol=1e-10, atol=1e-10)


# ---- the outer gradient


def outer(model: TTTModel) -> torch.Tensor:
    return model.read(TOKENS, TARGETS).losses.mean()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("clip", [float("inf"), 0.3])
def test_the_outer_gradient_is_that_of_finite_differences(which, clip):
    model = both(clip=clip, rate=0.1)[which]
    outer(model).backward()
    for number, (name, parameter) in enumerate(model.named_parameters()):
        generator = Generator().manual_seed(number)
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        said, step, found = (parameter.grad * direction).sum().item(), 1e-6, []
        for sign in (1, -1):
            parameter.data += sign * step * direction
            with torch.no_grad():
                found.append(float(outer(model)))
            parameter.data -= sign * step * direction
        differs = (found[0] - found[1]) / (2 * step)
        assert said == pytest.approx(differs, rel=1e-5, abs=1e-8), name


def test_the_outer_gradient_is_that_of_torch_func():
    """The same loop once more with torch.func.grad inside torch.func.grad, for a single sequence."""
    model = build(clip=float("inf"), learned=False)
    names = model.fast_names
    upper = model.upper
    start = {name: dict(upper.named_parameters())[name].detach() for name in names}
    hidden = model.read_lower(TOKENS[:1])[0].detach()

    def read(weights: dict) -> torch.Tensor:
        states, losses = None, []
        for at in range(0, 18, 4):
            piece, targets = hidden[:, at : at + 4], TARGETS[:1, at : at + 4]

            def loss(w, piece=piece, targets=targets, states=states):
                with backend.using("plain"):
                    logits, after = functional_call(upper, w, (piece, states, model.base.context()))
                each = F.cross_entropy(logits.mT, targets, reduction="none")
                return each.mean(), (each, after)

            gradient, (each, states) = torch.func.grad(loss, has_aux=True)(weights)
            weights = {name: weights[name] - 0.5 * gradient[name] for name in names}
            losses.append(each)
        return torch.cat(losses, 1).mean()

    theirs = torch.func.grad(read)(start)
    model.read(TOKENS[:1], TARGETS[:1]).losses.mean().backward()
    ours = dict(upper.named_parameters())
    for name in names:
        torch.testing.assert_close(ours[name].grad, theirs[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_first_order_has_the_same_loss_and_another_gradient(which):
    exact, first = both()[which], both(order="first")[which]
    assert torch.equal(outer(exact).detach(), outer(first).detach())
    outer(exact).backward()
    outer(first).backward()
    assert max(
        float((a.grad - b.grad).abs().max())
        for (name, a), b in zip(exact.named_parameters(), first.parameters(), strict=True)
        if a.grad is not None and b.grad is not None
    ) > 1e-3  # fmt: skip


CHECKPOINTED = [(None, group) for group in (1, 2, 3, 100)] + [(plan, 1) for plan in ABOVE]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("order", ["exact", "first"])
@pytest.mark.parametrize(("plan", "group"), CHECKPOINTED)
def test_checkpointing_through_time_changes_nothing(which, order, plan, group):
    if plan is None:
        plain, saved = (both(order=order, group=size)[which] for size in (0, group))
    else:  # with which = 1 a fast MLP in every block, so that nothing is below
        fast = ({}, {"fast": "blocks.*.mlp.part", "count": 2})[which]
        plain, saved = (build(SMALL.replace(plan=plan), order=order, group=size, **fast) for size in (0, group))
    one, two = outer(plain), outer(saved)
    assert torch.equal(one.detach(), two.detach())
    one.backward()
    two.backward()
    for a, b in zip(plain.parameters(), saved.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


def test_descent_lowers_the_loss_of_a_chunk_that_comes_again_and_ascent_raises_it():
    again = TOKENS[:, :4].repeat(1, 2), TARGETS[:, :4].repeat(1, 2)
    losses = {}
    for rate, ascent in ((0.0, False), (0.01, False), (0.01, True)):
        model = build(BIGRAM, fast="blocks.*.mlp.part", count=2, rate=rate, ascent=ascent)
        losses[rate, ascent] = float(model.read(*again).losses[:, 4:].mean().detach())
    assert losses[0.01, False] < losses[0.0, False] < losses[0.01, True]


# ---- decoding


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("cuts", [(18,), (1,) * 18, (4, 4, 4, 4, 2), (5, 1, 7, 5), (3, 15)])
def test_in_whatever_pieces_a_text_is_fed_the_logits_are_those_of_the_whole(which, cuts):
    model, at, parts = both()[which], 0, []
    progress = begin(model, 2)
    for size in cuts:
        logits, progress = feed(model, progress, TOKENS[:, at : at + size])
        parts.append(logits)
        at += size
    with torch.no_grad():
        whole = model(TOKENS)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-10)


def test_a_sample_follows_its_prompt_and_its_seed():
    model = build()
    drawn = [sample(model, TOKENS, 9, Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0].shape == (2, 9)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="temperature is 0"):
        sample(model, TOKENS, 1, Generator(), temperature=0.0)
