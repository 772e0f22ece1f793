"""Run as a file, with the lablib of any commit on the path: name the full-scale arms, compute some of them.

It asks of that lablib only what it has had from the beginning: `all_experiments`, `arms`, `digest`, `compute` and
`write_atomically`.
The job comes as JSON on standard input: `answer`, the file for the names of the arms, and `tasks`, each an
experiment, a place in `arms("full")` and the file for what came of it.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import lablib
from lablib.core.experiment import all_experiments
from lablib.core.files import write_atomically


def main() -> None:
    job, known = json.load(sys.stdin), all_experiments()
    if job["answer"]:
        arms = {name: [one.digest(cfg) for cfg in one.arms("full")] for name, one in known.items()}
        versions = {name: one.version for name, one in known.items()}
        origin = str(Path(next(iter(lablib.__path__))).resolve())
        write_atomically(Path(job["answer"]), json.dumps({"origin": origin, "versions": versions, "arms": arms}))
    for name, place, file in job["tasks"]:
        arm = known[name].compute(known[name].arms("full")[place])
        table = None if arm.table is None else arm.table.to_dict(orient="list")
        write_atomically(Path(file), json.dumps({"error": arm.error, "table": table}))
        with contextlib.suppress(OSError):  # standard output that goes away stops nothing
            os.write(1, f"    {name}, arm {place}: {arm.cpu_seconds:.0f} CPU-s\n".encode())


if __name__ == "__main__":
    main()
