"""Figures as PNGs: those of the recorded tables, each with the digest of its table, and those of a report."""

import hashlib
import importlib
import importlib.util
import json
import pkgutil
from typing import Any

from lablib.app.errors import BadInput
from lablib.core.experiment import Experiment
from lablib.core.store import Record, write_atomically

SIZE = {"width": 900, "height": 520, "scale": 2}
MISSING = "images need kaleido and a Chrome or Chromium; pip install -e '.[images]' and apt install chromium"


def table_digest(record: Record, name: str) -> str:
    """The SHA-256 of the recorded CSV, by which a test knows without a browser whether an image is stale."""
    return hashlib.sha256((record.root / f"{name}.csv").read_bytes()).hexdigest()


def figure_of(experiment: Experiment, record: Record):
    """The figure of the recorded table; None without a table or without a figure function."""
    function, table = figure_function(experiment.name), experiment.recorded(record)
    return None if function is None or table.empty else function(table)


def figure_function(name: str):
    """By convention `<experiment>_figure` in `lablib.<subject>.figures` or a module in it; None where there is none."""
    subject, _, short = name.partition("/")
    package = f"lablib.{subject}.figures"
    if importlib.util.find_spec(package) is None:
        return None
    module = importlib.import_module(package)
    inside = pkgutil.iter_modules(getattr(module, "__path__", []))
    modules = [module, *(importlib.import_module(f"{package}.{one.name}") for one in inside)]
    return next((found for one in modules if (found := getattr(one, f"{short}_figure", None))), None)


def still(figure: dict[str, Any]) -> bytes:
    """A figure, given as plotly's JSON, as a PNG; BadInput where what draws is missing."""
    import plotly.graph_objects as go

    _need_kaleido()
    return _png(go.Figure({key: figure.get(key, []) for key in ("data", "layout")}))


def _need_kaleido() -> None:
    if importlib.util.find_spec("kaleido") is None:
        raise BadInput(MISSING)


def _png(figure: Any) -> bytes:
    """The figure with its texts folded for the picture's width, at its own height, else as high as SIZE says."""
    from lablib.viz.layout import fit

    figure = fit(figure, SIZE["width"])
    try:
        return figure.to_image(format="png", **SIZE | {"height": figure.layout.height or SIZE["height"]})
    except Exception as error:
        raise BadInput(f"{MISSING} ({type(error).__name__}: {error})") from None


def draw(experiment: Experiment, record: Record) -> None:
    """Write the PNG and its JSON, and say so; BadInput where what draws is missing."""
    _need_kaleido()
    figure = figure_of(experiment, record)
    if figure is None:
        print(f"{experiment.name}: no figure function or no recorded table, no image", flush=True)
        return
    path = record.root / "images" / f"{experiment.name.replace('/', '-')}.png"
    write_atomically(path, _png(figure))
    facts = {"experiment": experiment.name, "table_sha256": table_digest(record, experiment.name)}
    facts["alt"] = (figure.layout.meta or {}).get("alt", "")  # the figure in words, for the README
    write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
    print(f"{experiment.name}: drew {path.name}", flush=True)
