"""What is recorded of the compiler does not depend on a person's settings of it."""

import json
import subprocess

from lablib.speed.experiments import compiled as experiment


def test_settings_that_change_the_program_do_not_reach_the_compiler(monkeypatch):
    settings = ("TRITON_INTERPRET", "TRITON_DISABLE_LINE_INFO", "TRITON_PTXAS_PATH", "TRITON_DEFAULT_FP_FUSION")
    for name in (*settings, "DISABLE_PTXAS_OPT", "PTXAS_OPTIONS", "USE_IR_LOC", "LLVM_EXTRACT_DI_LOCAL_VARIABLES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/somewhere")
    told = {}

    def run(command, *, env, **how):
        told.update(env)
        return subprocess.CompletedProcess(command, 0, json.dumps([{"kernel": command[-1], "instructions": 3}]), "")

    monkeypatch.setattr(experiment.subprocess, "run", run)
    table = experiment.compiled.function(experiment.CompiledConfig())
    assert table["instructions"].tolist() == [3]
    left = {name for name in told if name.startswith(experiment.SETTINGS)}
    assert left == {"TRITON_CACHE_DIR", "TRITON_ALWAYS_COMPILE"}
    assert told["PATH"]
