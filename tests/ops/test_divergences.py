"""Divergences against trl, closed forms and autograd."""

import math

import pytest
import torch
import torch.nn.functional as F

from lablib.ops.divergences import forward_kl, jsd, reverse_kl, top_k, top_k_kl


@pytest.fixture(scope="module")
def trl_jsd():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.gkd.gkd_trainer import GKDTrainer  # seconds
    return GKDTrainer.generalized_jsd_loss


def logits(generator, *shape, dtype=torch.float64):
    return 3 * torch.randn(*shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_jsd_is_that_of_trl(beta, temperature, generator, trl_jsd):
    teacher, student = (logits(generator, 2, 5, 17, dtype=torch.float32) for _ in range(2))
    theirs = trl_jsd(student, teacher, None, beta, temperature, reduction="none").sum(-1)
    torch.testing.assert_close(jsd(teacher, student, beta, temperature), temperature**2 * theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_gradient_is_the_closed_form(temperature, generator):
    teacher, student = logits(generator, 7, 11), logits(generator, 7, 11).requires_grad_()
    (own,) = torch.autograd.grad(forward_kl(teacher, student, temperature).sum(), student)
    p, q = (each.detach().div(temperature).softmax(-1) for each in (teacher, student))
    torch.testing.assert_close(own, temperature * (q - p))
    (other,) = torch.autograd.grad(reverse_kl(teacher, student, temperature).sum(), student)
    apart = q.log() - p.log()
    torch.testing.assert_close(other, temperature * q * (apart - (q * apart).sum(-1, keepdim=True)))


def test_the_directions_are_those_of_their_names(generator):
    teacher, student = logits(generator, 4, 6), logits(generator, 4, 6)
    p, q = teacher.softmax(-1), student.softmax(-1)
    torch.testing.assert_close(forward_kl(teacher, student), (p * (p / q).log()).sum(-1))
    torch.testing.assert_close(reverse_kl(teacher, student), (q * (q / p).log()).sum(-1))
    for divergence in (forward_kl, reverse_kl, lambda p, q: jsd(p, q, 0.3)):
        torch.testing.assert_close(divergence(teacher, teacher + 5), torch.zeros(4).double(), atol=1e-12, rtol=0)


def test_cross_entropy_is_forward_kl_from_one_token(generator):
    student, target = logits(generator, 5, 9), torch.arange(5)
    sure = torch.full((5, 9), -1e4, dtype=torch.float64).scatter(-1, target[:, None], 0.0)
    torch.testing.assert_close(forward_kl(sure, student), F.cross_entropy(student, target, reduction="none"))


def test_the_gradient_keeps_its_size_at_any_temperature(generator):
    teacher, student = 0.1 * logits(generator, 50, 32), (0.1 * logits(generator, 50, 32)).requires_grad_()
    sizes = [torch.autograd.grad(forward_kl(teacher, student, t).sum(), student)[0].norm() for t in (1.0, 8.0)]
    assert 0.7 < sizes[1] / sizes[0] < 1.4


def test_the_ends_of_the_jsd_are_a_jump_that_is_told(generator):
    teacher, student = logits(generator, 3, 8), logits(generator, 3, 8)
    for beta, end in ((1e-3, 0.0), (1 - 1e-3, 1.0)):
        with pytest.warns(UserWarning, match="goes to 0 at the ends"):
            inside = jsd(teacher, student, beta)
        assert (inside < 0.05 * jsd(teacher, student, end)).all()


# ---- a teacher's top tokens


def test_the_top_tokens_with_the_remainder_are_a_lower_bound_and_without_it_a_wrong_teacher(generator):
    teacher, student = logits(generator, 40, 30), logits(generator, 40, 30)
    whole = forward_kl(teacher, student)
    before = torch.zeros(40).double()
    for k in (1, 3, 10, 29, 30):
        now = top_k_kl(top_k(teacher, k), student)
        assert (now <= whole + 1e-9).all()
        assert (now >= before - 1e-9).all(), "a finer partition tells no less"
        assert (top_k_kl(top_k(teacher, k), teacher).abs() < 1e-9).all()
        before = now
    torch.testing.assert_close(before, whole)
    assert (top_k_kl(top_k(teacher, 3), teacher, remainder=False) > 0).all()
    torch.testing.assert_close(top_k_kl(top_k(teacher, 30), student, remainder=False), whole)


@pytest.mark.parametrize("remainder", [True, False])
def test_the_gradient_of_the_top_tokens_is_finite_also_for_a_sure_student(remainder, generator):
    teacher = top_k(torch.tensor([[60.0, 0.0, 0.0, 0.0]]), 1)
    student = torch.tensor([[80.0, 0.0, -20.0, 3.0]], requires_grad=True)
    top_k_kl(teacher, student, remainder=remainder).sum().backward()
    assert student.grad.isfinite().all()


ODD = {
    "vocabularies": (lambda z: forward_kl(z, z[:, :-1]), "the teacher has 8 tokens, the student 7"),
    "a temperature of 0": (lambda z: reverse_kl(z, z, 0.0), "temperature is 0.0; expected a finite number above 0"),
    "a negative temperature": (lambda z: jsd(z, z, 0.5, -1.0), "temperature is -1.0"),
    "no temperature": (lambda z: forward_kl(z, z, math.nan), "temperature is nan"),
    "beta below 0": (lambda z: jsd(z, z, -0.1), "beta is -0.1; expected 0"),
    "beta above 1": (lambda z: jsd(z, z, 1.1), "beta is 1.1"),
    "k of 0": (lambda z: top_k(z, 0), "k is 0; expected 1 to the vocabulary, 8"),
    "k above the vocabulary": (lambda z: top_k(z, 9), "k is 9"),
}


@pytest.mark.parametrize(("call", "words"), ODD.values(), ids=ODD)
def test_what_makes_no_sense_is_refused(call, words, generator, refused):
    with refused(ValueError, words):
        call(logits(generator, 3, 8))
