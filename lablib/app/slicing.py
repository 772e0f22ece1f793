"""`lab slice`: a smaller model out of a saved elastic one."""

import warnings
from pathlib import Path

from lablib.app.errors import BadInput
from lablib.core.measure import num_parameters
from lablib.elastic.saved import save_slice


def slice_model(source: Path, budget: str, folder: Path) -> list[str]:
    """Write the slice; returns the lines to be shown. Raises BadInput for what cannot be sliced."""
    if folder.resolve() == source.resolve():
        raise BadInput(f"--to {folder} is the folder of the model itself; name another one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shown as a line
            small, said = save_slice(source, budget, folder)
    except ValueError as error:
        raise BadInput(str(error)) from None
    lines = [f"{folder}: {num_parameters(small):,} parameters, plan {small.cfg.plan!r}, width {small.cfg.width}"]
    return [*lines, *([f"note: {said}"] if said else [])]
