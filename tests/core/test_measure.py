"""What a comparison cost is counted, and the counts agree with those made by hand."""

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lablib.core import measure
from lablib.core.measure import (
    available_memory,
    count_flops,
    forget_peak_memory,
    in_fresh_process,
    num_parameters,
    peak_memory,
)
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.surgery import freeze


def test_a_matrix_product_costs_two_operations_a_multiplication():
    m, n, k = 3, 5, 7
    a, b = torch.randn(m, k), torch.randn(k, n)
    assert count_flops(lambda: a @ b) == 2 * m * n * k
    assert count_flops(lambda: torch.einsum("mk,kn->mn", a, b)) == 2 * m * n * k


def test_the_backward_pass_of_a_linear_map_costs_twice_the_forward():
    x, w = torch.randn(3, 7, requires_grad=True), torch.randn(7, 5, requires_grad=True)
    forward = count_flops(lambda: x @ w)
    assert count_flops(lambda: (x @ w).sum().backward()) == 3 * forward


@pytest.mark.parametrize("grad", [False, True], ids=["without gradients", "with gradients"])
@pytest.mark.parametrize("mask", [False, True], ids=["causal", "masked"])
def test_attention_costs_its_two_matrix_products(mask, grad):
    batch, head, time_, dim = 2, 3, 32, 8
    q = torch.randn(batch, head, time_, dim, requires_grad=grad)
    band = torch.ones(time_, time_, dtype=torch.bool).tril() if mask else None
    flops = count_flops(lambda: F.scaled_dot_product_attention(q, q, q, attn_mask=band, is_causal=not mask))
    assert flops == 2 * (2 * batch * head * time_ * time_ * dim)


def test_full_attention_costs_more_than_a_narrow_window():
    def flops(**changes):
        model = LanguageModel(ModelConfig(**changes))
        tokens = torch.zeros(1, 256, dtype=torch.long)
        with torch.no_grad():
            return count_flops(lambda: model(tokens))

    assert flops(plan="swa", window=8) < flops(plan="swa", window=64) < flops(plan="full")


def test_parameters_are_those_one_counts_by_hand():
    vocab, width = 11, 8
    model = LanguageModel(ModelConfig(plan="swa", vocab=vocab, width=width, num_heads=2))
    attention = 4 * width * width + 2 * (width // 2)  # four maps, two head norms
    mlp = 3 * width * (2 * width)
    by_hand = 2 * vocab * width + (attention + width) + (mlp + width) + width
    assert num_parameters(model) == by_hand


def test_hsa_parameters_are_those_one_counts_by_hand():
    cfg = ModelConfig(plan="memory hsa", vocab=11, width=8, num_heads=2, num_kv_heads=1)
    w, head_dim = cfg.width, 4
    encoder = w + 3 * w + 4 * w * w + 3 * w * 2 * w + w * w + 2 * w * head_dim + w + head_dim
    hsa = w + 3 * w * w + w + head_dim  # its norm; retrieval query, query, out; retrieval norm; query norm
    mlp = w + 3 * w * 2 * w
    assert num_parameters(LanguageModel(cfg)) == 2 * 11 * w + w + encoder + hsa + mlp


def test_a_tied_weight_counts_once_and_a_frozen_one_not_at_all():
    model = LanguageModel(ModelConfig(plan="swa", vocab=11, width=8))
    before = num_parameters(model)
    model.head.weight = model.embedding.weight
    assert num_parameters(model) == before - 11 * 8
    freeze(model, "blocks.0.mlp", count=1)
    assert num_parameters(model) == before - 11 * 8 - 3 * 8 * 16 - 8


def test_a_fresh_process_is_another_one_and_passes_errors_on():
    assert in_fresh_process(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="invalid literal"):
        in_fresh_process(int, "seven")


def test_a_fresh_process_does_not_inherit_the_peak_of_the_one_that_started_it():
    held = torch.ones(200_000_000)
    assert peak_memory() > held.nbytes
    assert in_fresh_process(peak_memory) < held.nbytes / 1.5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the oracle is Linux's /proc")
def test_the_peak_of_memory_is_in_bytes_and_covers_what_the_kernel_says():
    held = torch.ones(4_000_000)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kernel = int(status["VmHWM"].split()[0]) * 1024
    assert kernel <= peak_memory() * 1.01
    assert held.nbytes < peak_memory() < 100 * kernel


def test_available_memory_is_more_than_nothing_and_less_than_there_is():
    found = available_memory()
    assert 0 < found <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_control_group_may_allow_less(monkeypatch, tmp_path):
    for name, text in {"max": "5000", "current": "3000", "stat": "anon 10\ninactive_file 1000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(measure, "CONTROL_GROUPS", tmp_path)
    assert available_memory() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 3000


def test_the_peak_of_before_can_be_forgotten():
    block = torch.ones(30_000_000)
    high = peak_memory()
    del block
    if forget_peak_memory():
        assert peak_memory() < high - 50_000_000
