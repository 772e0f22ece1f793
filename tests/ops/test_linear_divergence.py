"""The chunked loss against its definition, finite differences and Liger-Kernel, and what it keeps in memory."""

from functools import partial

import pytest
import torch

from lablib.ops import backend
from lablib.ops.divergences import forward_kl, jsd, reverse_kl
from lablib.ops.linear_divergence import linear_divergence, naive_linear_divergence

KINDS = {
    "forward KL": forward_kl,
    "reverse KL": reverse_kl,
    "JSD": partial(jsd, beta=0.3),
    "temperature 2": partial(forward_kl, temperature=2.0),
}


def inputs(generator, tokens=23, vocab=17, width=5, its_width=7, dtype=torch.float64):
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    weight = torch.rand(tokens, generator=generator, dtype=dtype)
    weight[::4] = 0
    student = draw(tokens, width).requires_grad_(), draw(vocab, width).requires_grad_()
    return *student, draw(tokens, its_width), draw(vocab, its_width), weight


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_value_and_gradients_are_those_of_the_definition(kind, chunk, generator):
    given = inputs(generator)
    losses = [
        naive_linear_divergence(*given, KINDS[kind]),
        linear_divergence(*given, KINDS[kind], chunk=chunk),
    ]
    torch.testing.assert_close(losses[1], losses[0])
    gradients = [torch.autograd.grad(3 * loss, given[:2]) for loss in losses]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_gradients_are_finite_differences(generator):
    student, rest = inputs(generator, tokens=6)[:2], inputs(generator, tokens=6)[2:]
    assert torch.autograd.gradcheck(lambda *own: linear_divergence(*own, *rest, chunk=4), student)


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_side_gets_no_gradient(frozen, generator):
    given = list(inputs(generator))
    given[frozen].requires_grad_(False)
    linear_divergence(*given, chunk=4).backward()
    assert given[frozen].grad is None
    assert given[1 - frozen].grad is not None


def test_a_second_derivative_raises(generator):
    given = inputs(generator)
    (gradient,) = torch.autograd.grad(linear_divergence(*given, chunk=4), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        gradient.sum().backward()


def test_the_plain_backend_has_a_second_derivative_and_triton_is_refused_on_a_cpu(generator):
    given = inputs(generator, tokens=6)
    with backend.using("plain"):
        assert torch.autograd.gradgradcheck(lambda *own: linear_divergence(*own, *given[2:]), given[:2])
    with backend.using("triton"), pytest.raises(ValueError, match=r"distillation loss: .*Backend 'torch' can"):
        linear_divergence(*given)


@pytest.mark.parametrize(("beta", "kind"), [(0.0, forward_kl), (1.0, reverse_kl), (0.5, partial(jsd, beta=0.5))])
def test_it_is_the_loss_of_liger(beta, kind, generator):
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # seconds

    hidden, head, its_hidden, its_head, _ = inputs(generator, dtype=torch.float32)
    theirs = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False, chunk_size=4
    )
    target = torch.zeros(len(hidden), dtype=torch.long)
    expected = theirs(hidden, head, its_hidden, its_head, target)
    expected = expected[0] if isinstance(expected, tuple) else expected
    own = linear_divergence(hidden, head, its_hidden, its_head, torch.ones(len(hidden)), kind, chunk=4)
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)
    for mine, its in zip(*(torch.autograd.grad(loss, (hidden, head)) for loss in (own, expected)), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


def test_what_is_kept_does_not_grow_with_the_vocabulary_times_the_tokens(generator):
    given = inputs(generator, tokens=256, vocab=300, width=4, its_width=4)
    own = linear_divergence(*given, chunk=8).grad_fn.saved_tensors
    assert sum(each.nbytes for each in own) == 8 * 4 * (256 + 300)
    logits = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: (logits.append(each.nbytes), each)[1], lambda each: each
    ):
        naive_linear_divergence(*given)
    assert max(logits) == 8 * 256 * 300


ODD = {
    "vocabularies": ({"teacher_head": torch.zeros(16, 7).double()}, "the teacher has 16 tokens, the student 17"),
    "nothing counts": ({"weight": torch.zeros(23).double()}, "the weights sum to 0"),
    "a chunk of 0": ({"chunk": 0}, "chunk is 0; expected at least 1"),
}


@pytest.mark.parametrize(("changes", "words"), ODD.values(), ids=ODD)
def test_what_makes_no_sense_is_refused(changes, words, generator, refused):
    names = ("hidden", "head", "teacher_hidden", "teacher_head", "weight")
    given = dict(zip(names, inputs(generator), strict=True)) | changes
    with refused(ValueError, words):
        linear_divergence(**given)
