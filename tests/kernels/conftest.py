"""The gates of the kernels. Gate 2 needs Triton's interpreter, which is chosen for a whole process.

`make test` runs `tests/kernels/interpreted` in a process of its own, with TRITON_INTERPRET=1; any other process leaves
that folder out. Where there is no Triton (macOS) nothing here can run, and `lab doctor` says so.
"""

import importlib.util
import os

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["*"]
elif os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore = ["interpreted"]
else:
    collect_ignore_glob = ["test_*.py"]
