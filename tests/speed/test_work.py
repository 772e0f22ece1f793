"""FLOPs and bytes in closed form are those that one counts pair by pair."""

import pytest

from lablib.speed.work import Shape, filled_slots, work


def pairs(shape: Shape) -> int:
    return sum(1 for i in range(shape.time) for j in range(i + 1) if j > i - shape.window)


@pytest.mark.parametrize("window", [1, 5, 33, 100])
def test_the_window_has_four_products_a_pair_and_fourteen_with_its_backward(window):
    shape = Shape(batch=2, heads=4, kv_heads=2, time=33, dim=16, window=window)
    flops = 2 * 4 * 16 * pairs(shape)
    assert work("sliding window", "forward", shape, "bfloat16").flops == 4 * flops
    assert work("sliding window", "forward and backward", shape, "bfloat16").flops == 14 * flops


def test_a_window_as_long_as_the_text_is_full_attention():
    shape = Shape(time=20, window=20)
    assert work("sliding window", "forward", shape, "float32") == work(
        "sliding window", "forward", shape.replace(window=50), "float32"
    )


def test_each_operand_crosses_the_border_once():
    shape = Shape(heads=4, kv_heads=1, time=10, dim=16, window=4)
    q, k = 4 * 10 * 16, 10 * 16  # elements of q and o, of k and v
    moved = 2 * (2 * q + 2 * k) + 4 * 4 * 10  # in 16 bits, and the log-sum-exp
    assert work("sliding window", "forward", shape, "float16").bytes == moved
    both = moved + 2 * (4 * q + 4 * k) + 2 * 4 * 4 * 10
    assert work("sliding window", "forward and backward", shape, "float16").bytes == both


def test_intensity_of_the_window_is_half_of_it():
    """Many key heads, a long text: W / 2 FLOPs a byte in 16 bits, near the ridge of an H100 at 512."""
    least = work("sliding window", "forward", Shape(time=1 << 20, window=512, dim=128), "bfloat16")
    assert least.flops / least.bytes == pytest.approx(256, rel=0.02)


def test_slots_are_filled_by_complete_chunks_of_the_past():
    assert filled_slots(Shape(time=10, chunk=4, top_k=5)) == 0 * 4 + 1 * 4 + 2 * 2
    assert filled_slots(Shape(time=10, chunk=4, top_k=1)) == 6


def test_the_gather_has_as_many_flops_a_byte_as_the_group_has_heads():
    for group in (1, 4, 16):
        least = work("chosen chunks", "forward", Shape(heads=16, kv_heads=16 // group), "bfloat16")
        assert least.flops / least.gathered == pytest.approx(group)


def test_the_selection_scores_the_past_once():
    shape = Shape(heads=4, kv_heads=2, time=10, dim=16, chunk=4)
    assert work("selection", "forward", shape, "float32").flops == 2 * 2 * 16 * (4 * 1 + 2 * 2)
    with pytest.raises(ValueError, match="no backward"):
        work("selection", "forward and backward", shape, "float32")


def test_a_shape_that_is_none_is_refused():
    with pytest.raises(ValueError, match="heads is 3; expected a multiple of kv_heads=2"):
        Shape(heads=3, kv_heads=2)
