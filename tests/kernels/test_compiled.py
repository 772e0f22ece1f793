"""Gate 3: the production configurations compile for sm_90, with tensor cores, without spills, within shared memory."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from labkernels.compiled import SHARED_LIMIT, instructions
from labkernels.runtime import MOST_SHARED
from lablib.core.store import PROJECT


def compiled(*arguments: str, folder=None, **settings: str) -> list[dict]:
    """The facts of `python -m labkernels.compiled`, in a process without the interpreter; of another copy if given."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | settings
    if folder is not None:
        environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, "-m", "labkernels.compiled", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def facts() -> list[dict]:
    return compiled()


def test_every_operator_has_forward_and_backward_at_both_widths(facts):
    names = [fact["kernel"] for fact in facts]
    assert len(set(names)) == len(names)
    for dim in (64, 128):
        kinds = {name.removesuffix(f", dim {dim}") for name in names if name.endswith(f", dim {dim}")}
        assert kinds >= {"swa forward", "swa dq", "swa dk, dv", "hsa dq", "hsa dk, dv", "hsa selection"}
        assert kinds >= {"hsa forward, query-major", "hsa forward, chunk-major"}
        assert {f"distillation {kind}, width {dim}" for kind in ("dh", "dv")} <= set(names)
    assert "distillation forward, width 64" in names  # one program for all widths


def broken_rules(fact: dict) -> list[str]:
    """What a configuration does not keep to."""
    rules = {
        "tensor cores": fact["wgmma"] + fact["mma"] > 0,
        "no spill": fact["stack"] == 0,
        "shared memory": fact["shared"] <= MOST_SHARED <= SHARED_LIMIT,
    }
    return [rule for rule, kept in rules.items() if not kept]


def test_all_use_tensor_cores_without_a_spill_and_fit(facts):
    assert not {fact["kernel"]: broken for fact in facts if (broken := broken_rules(fact))}


def test_so_do_the_smallest_and_the_largest_operands_that_are_taken():
    found = compiled("--corners")
    assert len(found) > 30
    assert not {fact["kernel"]: broken for fact in found if (broken := broken_rules(fact))}


def test_tiles_of_64_rows_and_more_use_the_instructions_of_hopper(facts):
    assert all(fact["wgmma"] > 0 for fact in facts if int(fact["tiles"].split()[0]) >= 64)


def test_a_kernel_that_multiplies_outside_tensor_cores_is_seen(tmp_path):
    """The mistake that the interpreter invites: operands in fp32, exact products."""
    shutil.copytree(PROJECT / "kernels", tmp_path / "labkernels")
    path = tmp_path / "labkernels" / "hsa" / "select.py"
    source = path.read_text()
    product, exact = "tl.dot(b_q, tl.trans(b_l)", "tl.dot(b_q.to(tl.float32), tl.trans(b_l).to(tl.float32)"
    assert product in source
    path.write_text(source.replace(product, exact))
    slow = {fact["kernel"]: broken_rules(fact) for fact in compiled(folder=tmp_path)}
    assert all("tensor cores" in broken for kernel, broken in slow.items() if "selection" in kernel)


PTX = """
//
.version 8.7
.file 1 "/home/mma.sync;/wgmma.mma_async;.py"
.visible .entry kernel(
\t.param .u64 kernel_param_0
)
{
\t.reg .b32 \t%r<9>;
\t.loc\t1 39 0                          // backward.py:39:0; mma.sync
$L__func_begin0:
// %bb.0:
\tld.param.b32 \t%r1, [kernel_param_0];
\t@%p1 bra \t$L__BB0_2; // mma.sync;
\t// begin inline asm
\tmma.sync.aligned.m16n8k16 {%r1}, {%r2};
\t// end inline asm
\tret;
}
\t.section\t.debug_info
\t{
.b8 47 // /
.b64 $L__tmp33;
\t}
"""


def test_only_instructions_are_counted():
    found = instructions(PTX)
    assert [line.split()[0] for line in found] == ["ld.param.b32", "@%p1", "mma.sync.aligned.m16n8k16", "ret;"]
    assert instructions("") == instructions(PTX.replace(";", "")) == []


def test_the_facts_of_a_program_depend_on_no_folder_clock_or_debug_information(facts, tmp_path):
    name = "swa forward, dim 64"
    here = [fact for fact in facts if fact["kernel"] == name]
    folder = tmp_path / ("a folder with a long name; mma.sync; REG 7 " + "x" * 80)
    shutil.copytree(PROJECT / "kernels", folder / "labkernels")
    fresh = {"TRITON_ALWAYS_COMPILE": "1", "TRITON_CACHE_DIR": str(folder / "cache")}
    assert compiled(name, folder=folder, TMPDIR=str(folder), **fresh) == here
    assert compiled(name, TRITON_DISABLE_LINE_INFO="1", **fresh) == here
    moved = folder / "labkernels" / "swa" / "forward.py"
    moved.write_text("# another line\n" * 300 + moved.read_text())
    assert compiled(name, folder=folder, **fresh) == here
