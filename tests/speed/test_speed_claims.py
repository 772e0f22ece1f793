"""The claims of notebook 07 hold in the recorded tables, and fail where a table is made to say something else."""

import pytest
from planted import cases, check_claim, level, shifted

from lablib.core.store import Record
from lablib.speed import claims
from lablib.speed.experiments.bench import bench, gpu
from lablib.speed.experiments.compiled import KERNELS, compiled

CASES = {
    bench: cases(
        claims.BENCH,
        level(9.0, "seconds", where="provider == 'banded' and `shape.time` == 4096"),
        level(1e-6, "seconds", where="provider == 'SDPA with a dense mask'"),
        level(1.0, "seconds", where="provider == 'by chunk' and `shape.time` == 16384"),
        level(1e-6, "seconds", where="provider == 'gathered' and `shape.time` == 16384"),
        level(1.0, "seconds", where="provider == 'block by block' and `shape.time` == 16384"),
    )
    + cases(
        claims.BESIDE,
        level(1e-6, "seconds", where="provider == 'the definition'"),
        level(9.0, "seconds", where="provider == 'banded'"),
        level(0.1, "error", where="provider == 'gathered'"),
    ),
    gpu: cases(
        claims.GPU,
        level(1.0, "seconds", where="operator == 'sliding window' and provider == 'ours' and `shape.time` == 2048"),
        level(1e-6, "seconds", where="provider == 'ours' and `shape.dim` == 128"),
        level(1e-6, "seconds", where="operator == 'selection' and provider == 'ours'"),
        level(1e-6, "seconds", where="provider == 'ours, query-major' and `shape.kv_heads` == 16"),
        level(9e-3, "error", where="provider == 'ours'"),
    ),
    compiled: cases(claims.COMPILED, shifted(8, "stack", "index == 0")),
}
ALL = [(made, claim, plant) for made, pairs in CASES.items() for claim, plant in pairs]


@pytest.fixture(scope="module")
def recorded():
    return {made: made.recorded() for made in CASES}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    check_claim(claim, recorded[made], plant)  # repetitions of a measurement are not seeds


def test_every_kernel_was_compiled(recorded):
    assert set(recorded[compiled]["kernel"]) == set(KERNELS)


def test_the_gpu_was_an_h100():
    arms = Record().load("speed/gpu")
    assert {arm.facts["gpu"] for arm in arms} == {"NVIDIA H100 80GB HBM3"}
    assert {(arm.config["repeats"], arm.config["seed"]) for arm in arms} == {(20, 0)}  # as the caveats say
