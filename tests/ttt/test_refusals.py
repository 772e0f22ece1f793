"""What cannot be read with an inner loop is refused before anything runs, with the field and the way out."""

import pytest
import torch
from torch import Generator, nn

from lablib.data.batch import Batch
from lablib.nn.model import LanguageModel
from lablib.nn.surgery import freeze
from lablib.ttt.decode import begin, feed
from lablib.ttt.e2e import InnerConfig, TTTModel, meta_loss
from lablib.ttt.second_order_check import refuse_compiled
from lablib.ttt.train_and_evaluate import SANDWICH, read

SMALL = SANDWICH.replace(plan="swa swa+prime", vocab=7, width=8, hidden=8, prime=8, window=6)
INNER = InnerConfig(chunk=4)


def base() -> LanguageModel:
    return LanguageModel(SMALL, Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rate": float("nan")}, "rate is nan; expected at least 0"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"rate": -0.1}, "rate is -0.1"),
        ({"clip": 0.0}, "clip is 0.0; expected more than 0"),
        ({"chunk": 0}, "chunk is 0"),
        ({"group": -1}, "group is -1"),
    ],
)
def test_a_bad_inner_loop_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        InnerConfig(**fields)


def test_a_window_shorter_than_a_chunk_is_refused_where_there_is_a_window():
    with pytest.raises(ValueError, match="window=6 is shorter than chunk=7"):
        TTTModel(base(), INNER.replace(chunk=7))
    below = LanguageModel(SMALL.replace(plan="swa swa mlp"))
    with pytest.raises(ValueError, match="window=6 is shorter than chunk=7"):
        TTTModel(below, INNER.replace(chunk=7, fast="blocks.2.mlp.part"))
    without = LanguageModel(SMALL.replace(plan="mlp mlp"))
    TTTModel(without, INNER.replace(chunk=7, fast="blocks.*.mlp.part", count=2))


@pytest.mark.parametrize(
    ("selector", "count", "said"),
    [
        ("blocks.*.primed", 1, "matches 0 modules, expected 1"),
        ("blocks.*.mlp.part", 1, "matches 2 modules, expected 1"),
        ("head", 1, "head cannot be fast"),
    ],
)
def test_a_selector_must_match_what_it_says_it_matches(selector, count, said):
    with pytest.raises(ValueError, match=said):
        TTTModel(base(), INNER.replace(fast=selector, count=count))


def test_frozen_weights_cannot_be_fast():
    model = base()
    freeze(model, "blocks.*.prime.part", count=1)
    with pytest.raises(ValueError, match=r"blocks.1.prime.part is frozen"):
        TTTModel(model, INNER)


@pytest.mark.parametrize(
    ("plan", "selector"),
    [
        ("swa swa", "blocks.1.mlp.before"),
        ("swa mamba2", "blocks.1.mixers.0.part"),
        ("swa kvb", "blocks.1.mixers.0.part"),
    ],
)
@pytest.mark.parametrize("order", ["exact", "first"])
def test_a_module_that_cannot_differ_from_sequence_to_sequence_is_refused(plan, selector, order):
    with pytest.raises(ValueError, match="with weights of its own for each sequence the model does not run"):
        TTTModel(LanguageModel(SMALL.replace(plan=plan)), INNER.replace(fast=selector, order=order))


def test_a_text_without_tokens_is_refused():
    model, nothing = TTTModel(base(), INNER), torch.zeros(1, 0, dtype=torch.long)
    with pytest.raises(ValueError, match="the text has no tokens"):
        model.read(nothing, nothing)
    with pytest.raises(ValueError, match="no tokens were fed"):
        feed(model, begin(model, 1), nothing)


class OneDerivative(torch.autograd.Function):
    """Stands for a kernel with a hand-written backward: torch drops its second derivative without a word."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            return grad * (1 - x.tanh() ** 2)


class Kernel(nn.Module):
    def forward(self, x):
        return OneDerivative.apply(x)


class Fused(nn.Module):
    def forward(self, x):
        heads = x[:, None]
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)[:, 0]


@pytest.mark.parametrize("part", [Kernel, Fused])
def test_an_operation_without_a_second_derivative_is_refused_above_the_fast_weights_only(part):
    for place, refused in ((1, True), (0, False)):
        model = base()
        model.blocks[place].mlp.part = nn.Sequential(model.blocks[place].mlp.part, part())
        if refused:
            with pytest.raises(ValueError, match="no second derivative, or a wrong one"):
                TTTModel(model, INNER)
            TTTModel(model, INNER.replace(order="first"))
        else:
            TTTModel(model, INNER)


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile imports what torch itself calls deprecated
def test_what_is_compiled_is_refused():
    model = base()
    model.blocks[1] = torch.compile(model.blocks[1])
    with pytest.raises(ValueError, match=r"blocks.1 is compiled"):
        TTTModel(model, INNER)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_what_is_compiled_in_place_or_later_is_refused_above_the_fast_weights():
    tokens, plain = torch.zeros(1, 9, dtype=torch.long), base()
    model = TTTModel(plain, INNER)
    plain.blocks[0].compile()  # compiled by its first call, which does not come
    refuse_compiled(model.upper)
    plain.blocks[1].mlp.compile()
    with pytest.raises(ValueError, match=r"blocks.0.mlp is compiled"):
        model.read(tokens, tokens)
    with pytest.raises(ValueError, match=r"blocks.1.mlp is compiled"):
        TTTModel(plain, INNER)


def test_reading_inside_torch_compile_is_refused(monkeypatch):
    model, tokens = TTTModel(base(), INNER), torch.zeros(1, 9, dtype=torch.long)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(RuntimeError, match="drops its second derivative"):
        model.read(tokens, tokens)


@pytest.mark.parametrize("target", [-100, 7])
def test_a_target_outside_the_vocabulary_is_refused_as_it_would_be_learnt_from(target):
    model, tokens = TTTModel(base(), INNER), torch.zeros(2, 8, dtype=torch.long)
    targets = tokens.clone()
    targets[1, 3] = target
    batch = Batch(tokens, targets, (targets == 0).float(), targets)
    for call in (lambda: model.read(tokens, targets), lambda: meta_loss(model, batch), lambda: read(base(), batch)):
        with pytest.raises(ValueError, match=f"a target that counts is {target}; expected a token id from 0 to 6"):
            call()


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_weights_without_a_mean_are_refused(weight):
    tokens = torch.zeros(2, 8, dtype=torch.long)
    with pytest.raises(ValueError, match="of the batch"):
        meta_loss(TTTModel(base(), INNER), Batch(tokens, tokens, torch.full((2, 8), weight), tokens))
