"""How far a student's next-token distribution q is from its teacher's p, position by position, in nats.

    forward KL   sum p log(p / q)                                        covers all modes of the teacher
    reverse KL   sum q log(q / p)                                        seeks one of them
    JSD(beta)    beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q      (arXiv 2306.13649, eq. 1)

p and q are softmax(logits / T). Each divergence is multiplied by T^2, so that the size of its gradient does not fall
with the temperature (arXiv 1503.02531, section 2.1). The gradient of T^2 KL(p || q) for the student's logits is
T (q - p).
"""

import math
import warnings
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Logits = Float[Tensor, "*batch vocab"]
Theirs = Float[Tensor, "*batch theirs"]  # as many, or refused in words
Nats = Float[Tensor, "*batch"]
NEAR_AN_END = 0.05  # of beta


def forward_kl(teacher: Theirs, student: Logits, temperature: float = 1.0) -> Nats:
    """T^2 KL(teacher || student). ValueError for other vocabularies and for a temperature that is not above 0."""
    p, q = _log_probabilities(teacher, student, temperature)
    return temperature**2 * _kl(p, q)


def reverse_kl(teacher: Theirs, student: Logits, temperature: float = 1.0) -> Nats:
    """T^2 KL(student || teacher). ValueError as in `forward_kl`."""
    p, q = _log_probabilities(teacher, student, temperature)
    return temperature**2 * _kl(q, p)


def jsd(teacher: Theirs, student: Logits, beta: float, temperature: float = 1.0) -> Nats:
    """T^2 JSD(beta); with beta 0 the forward KL, with 1 the reverse KL, as in published codes.

    These ends are a jump: inside, the JSD goes to 0 with beta and with 1 - beta, as a learning rate would. Warns close
    to an end. ValueError for a beta outside [0, 1], and as in `forward_kl`.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; expected 0 (forward KL) to 1 (reverse KL)")
    if beta in (0, 1):
        return (reverse_kl if beta else forward_kl)(teacher, student, temperature)
    if min(beta, 1 - beta) < NEAR_AN_END:
        said = f"beta is {beta}: inside (0, 1) the JSD goes to 0 at the ends, and the gradient with it"
        warnings.warn(f"{said}; take {round(beta)} for a KL divergence, or a larger learning rate", stacklevel=2)
    p, q = _log_probabilities(teacher, student, temperature)
    m = torch.logaddexp(p + math.log(beta), q + math.log1p(-beta))
    return temperature**2 * (beta * _kl(p, m) + (1 - beta) * _kl(q, m))


class TopK(NamedTuple):
    """The k most probable next tokens of a teacher: their log probabilities, and which they are."""

    log_probabilities: Float[Tensor, "*batch k"]
    tokens: Int[Tensor, "*batch k"]


def top_k(teacher: Logits, k: int) -> TopK:
    """What to store of a teacher in place of all its logits. ValueError for a k that the vocabulary does not have."""
    if not 1 <= k <= teacher.shape[-1]:
        raise ValueError(f"k is {k}; expected 1 to the vocabulary, {teacher.shape[-1]}")
    return TopK(*teacher.log_softmax(-1).topk(k))


def top_k_kl(teacher: TopK, student: Logits, *, remainder: bool = True) -> Nats:
    """KL(teacher || student) by the teacher's k most probable tokens.

    With the remainder all other tokens are one more outcome, on both sides: a lower bound of the KL, which is 0 where
    student and teacher are equal. Without it the k probabilities are scaled to sum to 1: the student is taught that no
    other token ever follows.
    """
    q = student.log_softmax(-1).gather(-1, teacher.tokens)
    p = teacher.log_probabilities
    if not remainder:
        return _kl(p.log_softmax(-1), q)
    tiny = torch.finfo(q.dtype).tiny
    rest = [(1 - each.exp().sum(-1, keepdim=True)).clamp_min(tiny).log() for each in (p, q)]
    return _kl(torch.cat([p, rest[0]], -1), torch.cat([q, rest[1]], -1))


def _kl(p: Logits, q: Logits) -> Nats:
    return F.kl_div(q, p, reduction="none", log_target=True).sum(-1)


def _log_probabilities(teacher: Theirs, student: Logits, temperature: float) -> tuple[Logits, Logits]:
    if teacher.shape[-1] != student.shape[-1]:
        came = f"the teacher has {teacher.shape[-1]} tokens, the student {student.shape[-1]}"
        raise ValueError(f"{came}; expected one vocabulary, with the same tokens")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; expected a finite number above 0")
    if temperature == 1:
        return teacher.log_softmax(-1), student.log_softmax(-1)
    return (teacher / temperature).log_softmax(-1), (student / temperature).log_softmax(-1)
