"""The same model through torch and through Triton: the door of `lablib.ops.backend`, in the interpreter."""

from functools import partial

import pytest
import torch
from conftest import with_margins

from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.ops import backend
from lablib.ops.attention import sliding_window_attention
from lablib.ops.divergences import forward_kl, reverse_kl
from lablib.ops.hsa import attend, select_chunks
from lablib.ops.linear_divergence import linear_divergence


def randn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("theta", [None, 10_000.0])
@pytest.mark.parametrize(("window", "sinks"), [(5, 0), (100, 0), (5, 3)])
def test_the_window_is_the_same_with_and_without_positions(window, sinks, theta):
    q, k, v = randn(1, 4, 30, 16), randn(1, 2, 30, 16), randn(1, 2, 30, 16)
    expected = sliding_window_attention(q, k, v, window, sinks=sinks, theta=theta)
    with backend.using("triton"):
        found = sliding_window_attention(q, k, v, window, sinks=sinks, theta=theta)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["softmax", "stick-breaking"])
def test_choosing_and_reading_are_the_same_with_their_gradients(fusion):
    """Also behind a prefix: positions 8 to 41 of a store that one batch of queries shares."""
    asking, landmarks = randn(2, 1, 34, 16), randn(1, 1, 5, 16)
    q, k, v = randn(2, 1, 2, 34, 16), randn(1, 1, 5, 16, 16), randn(1, 1, 5, 16, 16).flip(0)
    positions = torch.arange(48, 82)

    def read(*inputs):
        asking, landmarks, q, k, v = inputs
        return attend(q, k, v, select_chunks(asking, landmarks, positions, 16, 2), fusion)

    inputs = [with_margins(x).requires_grad_() for x in (asking, landmarks, q, k, v)]
    expected = read(*inputs)
    right = torch.autograd.grad(expected.square().sum(), inputs)
    with backend.using("triton"):
        found = read(*inputs)
        gradients = torch.autograd.grad(found.square().sum(), inputs)
    for a, b in zip((found, *gradients), (expected, *right), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [forward_kl, partial(forward_kl, temperature=2.0)])
def test_the_distillation_loss_is_the_same_with_its_gradients(kind):
    shapes = (20, 16), (9, 16), (20, 5), (9, 5)
    hidden, head, *teacher = (with_margins(randn(*shape)) for shape in shapes)
    own = hidden.requires_grad_(), head.requires_grad_()
    losses = [linear_divergence(*own, *teacher, torch.arange(20.0), kind)]
    with backend.using("triton"):
        losses.append(linear_divergence(*own, *teacher, torch.arange(20.0), kind))
    torch.testing.assert_close(losses[1], losses[0], atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(loss, own) for loss in losses]
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-5)
    assert "DistillationLoss" in losses[1].grad_fn.name()
    with backend.using("triton"), pytest.raises(ValueError, match=r"the forward KL alone.*Backend 'torch' can"):
        linear_divergence(*own, *teacher, torch.arange(20.0), reverse_kl)


def test_a_model_trains_alike_through_both():
    cfg = ModelConfig(vocab=16, width=32, num_heads=2, num_kv_heads=1, window=8, chunk=16, top_k=2)
    model = LanguageModel(cfg, torch.Generator().manual_seed(0))
    tokens = torch.randint(16, (1, 50), generator=torch.Generator().manual_seed(1))

    def gradients(name):
        model.zero_grad()
        with backend.using(name):
            loss = torch.nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
        return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    (mine, by_triton), (right, by_torch) = gradients("triton"), gradients("torch")
    torch.testing.assert_close(mine, right, atol=1e-5, rtol=1e-5)
    assert by_triton.keys() == by_torch.keys()
    for name, gradient in by_torch.items():
        torch.testing.assert_close(by_triton[name], gradient, atol=1e-4, rtol=1e-3, msg=name)


def test_what_no_kernel_computes_is_refused_when_triton_was_chosen_by_name():
    q, store = randn(1, 1, 1, 20, 16), randn(1, 1, 1, 16, 16)
    selection = select_chunks(q[:, :, 0], store[:, :, :, 0], torch.arange(20), 16, 1)
    with backend.using("triton"), pytest.raises(ValueError, match=r"'concat'.*Backend 'torch' can"):
        attend(q, store, store, selection, "concat")
