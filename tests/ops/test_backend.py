"""Who computes: the choice of a backend, its reasons, and its refusals, on a machine without a GPU."""

import pytest
import torch

from lablib.ops import backend
from lablib.ops.attention import sliding_window_attention

needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="what is said where there is no GPU")


@needs_cpu
@pytest.mark.parametrize("operator", backend.OPERATORS)
def test_every_operator_says_which_way_it_takes_here_and_why(operator):
    way = backend.way_here(operator)
    assert way.backend == "torch"
    assert "GPU" in way.reason or "not installed" in way.reason


def test_an_operator_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="operator is 'ssd'; expected sliding-window attention"):
        backend.way_here("ssd")


def test_a_backend_that_does_not_exist_is_refused(refused):
    with refused(ValueError, "backend is 'cuda'; expected auto, torch, triton"), backend.using("cuda"):
        pass


def test_triton_by_name_is_refused_on_a_cpu_with_the_reason_and_never_replaced():
    q = torch.zeros(1, 1, 8, 16)
    with backend.using("triton"), pytest.raises(ValueError, match="Backend 'torch' can"):
        sliding_window_attention(q, q, q, 4)
    assert sliding_window_attention(q, q, q, 4).shape == q.shape


def test_the_choice_ends_with_its_block_also_after_an_error():
    with pytest.raises(RuntimeError), backend.using("triton"):
        raise RuntimeError
    assert not backend.kernels_wanted(torch.zeros(1))


def test_auto_on_a_cpu_asks_no_kernel(monkeypatch):
    monkeypatch.setattr(backend, "kernel", lambda *_: pytest.fail("a kernel was asked"))
    q = torch.zeros(1, 1, 8, 16)
    assert sliding_window_attention(q, q, q, 4).shape == q.shape
