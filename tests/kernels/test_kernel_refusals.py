"""Operands that a kernel cannot take are refused before a launch: the argument, the limit, a way out."""

from types import SimpleNamespace

import pytest
import torch

from labkernels.distillation.op import check_shapes as check_loss
from labkernels.distillation.op import linear_kl
from labkernels.hsa.op import check_shapes as check_chunks
from labkernels.hsa.op import hierarchical_attention
from labkernels.hsa.select import select_chunks
from labkernels.runtime import check_dim, check_operands
from labkernels.swa.op import check_shapes, sliding_window_attention


def window_case(**changes):
    shapes = {"q": (1, 4, 8, 16), "k": (1, 2, 8, 16), "v": (1, 2, 8, 16)} | changes
    return {name: torch.zeros(shape, device="meta") for name, shape in shapes.items()}


def test_a_cpu_without_the_interpreter_is_refused_and_told_what_can():
    with pytest.raises(ValueError, match=r"sliding-window attention: .* on the CPU.*Backend 'torch' can"):
        sliding_window_attention(*(torch.zeros(1, 1, 8, 16) for _ in range(3)), 4)
    q, chunks = torch.zeros(1, 1, 1, 8, 16), torch.zeros(1, 1, 8, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"hierarchical sparse attention: .* on the CPU"):
        hierarchical_attention(q, q.mT.mT, q, chunks, chunks.float())
    with pytest.raises(ValueError, match=r"selection of chunks: .* on the CPU"):
        select_chunks(q[0], q[0], 4, 1)
    with pytest.raises(ValueError, match=r"distillation loss: .* on the CPU.*Backend 'torch' can"):
        linear_kl(*(torch.zeros(8, 16) for _ in range(4)), torch.ones(8))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"q": (4, 8, 16)}, r"expected q \(batch, heads, time, dim\)"),
        ({"k": (1, 2, 9, 16)}, r"k \(1, 2, 9, 16\), v \(1, 2, 8, 16\)"),
        ({"q": (1, 3, 8, 16)}, "q has 3 heads.*a multiple of kv_heads"),
        ({"q": (1, 4, 8, 32)}, "4 heads of 32.*the same dim"),
        ({"q": (1, 4, 8, 24), "k": (1, 2, 8, 24), "v": (1, 2, 8, 24)}, "dim is 24.*powers of two from 16 to 256"),
        ({"q": (1, 4, 8, 8), "k": (1, 2, 8, 8), "v": (1, 2, 8, 8)}, "dim is 8"),
        ({"q": (0, 4, 8, 16), "k": (0, 2, 8, 16), "v": (0, 2, 8, 16)}, "expected no empty axis"),
        ({"k": (1, 0, 8, 16), "v": (1, 0, 8, 16)}, "expected no empty axis"),
        (
            {"q": (1, 65_536, 8, 16), "k": (1, 1, 8, 16), "v": (1, 1, 8, 16)},
            "1 sequences of 65536 heads are 65,536; a launch takes 65,535",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        check_shapes(**window_case(**changes), window=4)


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="window is 0, sinks 0; expected a window of at least 1"):
        check_shapes(**window_case(), window=0)
    with pytest.raises(ValueError, match=r"window is 4, sinks -1; expected .* 0 or more sinks"):
        check_shapes(**window_case(), window=4, sinks=-1)


def test_mixed_types_and_devices_are_refused():
    q, k, v = window_case().values()
    with pytest.raises(ValueError, match=r"q torch.float16, k torch.float32.*expected one type"):
        sliding_window_attention(q.half(), k, v, 4)
    with pytest.raises(ValueError, match=r"q cpu, k meta.*expected one device"):
        sliding_window_attention(torch.zeros(1, 4, 8, 16), k, v, 4)
    with pytest.raises(ValueError, match=r"torch.int64; the kernel takes"):
        sliding_window_attention(q.long(), k.long(), v.long(), 4)


def test_wide_types_are_left_to_torch_where_kernels_are_compiled():
    with pytest.raises(ValueError, match=r"torch.float32; compiled kernels take float16 and bfloat16.*Backend 'torch'"):
        sliding_window_attention(*window_case().values(), 4)


def test_a_gpu_with_too_little_shared_memory_is_refused(monkeypatch):
    small = SimpleNamespace(shared_memory_per_block_optin=101_376)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: small)
    like = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float16)
    with pytest.raises(ValueError, match=r"this GPU has 101,376 bytes of shared memory, the tiles need up to 196,608"):
        check_operands("op", q=like)


@pytest.mark.parametrize(
    ("group", "time", "slots"), [(65, 64, 2), (1, 2**27, 16)], ids=["a large group", "more slots than an int32 counts"]
)
def test_chosen_chunks_beyond_what_is_counted_or_kept_are_refused(group, time, slots):
    q, k = torch.zeros(1, 1, group, time, 16, device="meta"), torch.zeros(1, 1, 4, 16, 16, device="meta")
    chunks = torch.zeros(1, 1, time, slots, dtype=torch.int32, device="meta")
    with pytest.raises(ValueError, match=r"the kernel takes up to 64 heads and fewer than 2\^31 slots"):
        check_chunks(q, k, k, chunks, chunks.float())


def loss_case(**changes):
    shapes = {"hidden": (8, 16), "head": (9, 16), "teacher_hidden": (8, 24), "teacher_head": (9, 24), "weight": (8,)}
    return {name: torch.zeros(shape, device="meta") for name, shape in (shapes | changes).items()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": (1, 8, 16)}, r"hidden \(1, 8, 16\), .*expected matrices"),
        ({"weight": (8, 1)}, r"weight \(8, 1\); expected matrices .* a weight a token"),
        ({"weight": (7,)}, "as many tokens in hidden, teacher_hidden and weight"),
        ({"teacher_hidden": (7, 24)}, "as many tokens in hidden, teacher_hidden and weight"),
        ({"teacher_head": (10, 24)}, "the teacher has 10 tokens, the student 9; expected one vocabulary"),
        ({"head": (9, 17)}, "expected a head as wide as its hidden states"),
        ({"teacher_head": (9, 16)}, "expected a head as wide as its hidden states"),
        ({"head": (0, 16), "teacher_head": (0, 24)}, "expected no empty axis. Backend 'torch' can"),
        ({"hidden": (8, 1040), "head": (9, 1040)}, "1040 wide; the kernels take up to 1024 .*Backend 'torch' can"),
    ],
)
def test_losses_of_operands_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(ValueError, match=f"distillation loss: .*{said}"):
        check_loss(**loss_case(**changes))


def test_losses_of_types_weights_and_temperatures_that_make_no_sense_are_refused():
    case = {name: x if name == "weight" else x.half() for name, x in loss_case().items()}
    with pytest.raises(ValueError, match=r"hidden torch.float16, head torch.bfloat16.*expected one type"):
        linear_kl(**case | {"head": case["head"].bfloat16()})
    with pytest.raises(ValueError, match=r"torch.float32; compiled kernels take .*Backend 'torch' can"):
        linear_kl(**loss_case())
    with pytest.raises(ValueError, match=r"weight is torch.int64 on meta.*expected floating-point weights"):
        linear_kl(**case | {"weight": case["weight"].long()})
    with pytest.raises(ValueError, match=r"weight is torch.float32 on cpu, hidden on meta"):
        linear_kl(**case | {"weight": torch.ones(8)})
    for temperature in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"temperature is {temperature}; expected a finite number above 0"):
            linear_kl(**case, temperature=temperature)


def test_a_limit_is_said_with_the_number_that_came():
    with pytest.raises(ValueError, match=r"op: the size of a chunk is 256; .* powers of two from 16 to 128"):
        check_dim("op", 256, most=128, what="the size of a chunk")
