"""From the tables of notebook 07 to the numbers said of them: table -> table."""

import math

import pandas as pd

NAMES = {"banded": "blocks (banded)"}  # what a reader is told
NOT_SHOWN = ("gather, then SDPA",)  # timed at one length: slower than `gathered`, which does the same
ORDERS = ("ours, query-major", "ours, chunk-major")
WITH_CHOICE = "better order + selection, times causal SDPA"
READERS = {"by chunk": "block by block", **dict.fromkeys(("ours", *ORDERS), "ours")}  # and who chooses chunks for them
CHOOSERS = ("block by block", "the definition")
SHAPE = ["shape.time", "shape.dim", "shape.kv_heads"]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the providers that are shown, by the names that a reader is told."""
    return table[~table["provider"].isin(NOT_SHOWN)].replace({"provider": NAMES})


def beside_the_floor(table: pd.DataFrame) -> pd.DataFrame:
    """A row an operator, mode, shape and provider: median ms over seeds, and how many times the floor that is."""
    if table.empty:
        return table
    rows = table.assign(ms=1e3 * table["seconds"], floor_ms=1e3 * table["floor_seconds"])
    rows["times the floor"] = table["seconds"] / table["floor_seconds"]
    keys = ["operator", "mode", *SHAPE, "provider"]
    means = rows.groupby(keys, sort=False)[["ms", "floor_ms", "times the floor", "error"]].median().reset_index()
    same = rows.groupby(keys, sort=False)["same_work"].first().reset_index(drop=True)
    means["error"] = means["error"].map("{:.0e}".format).where(same, "other work")
    return means.rename(columns={"shape.time": "tokens", "shape.dim": "dim", "shape.kv_heads": "kv heads"})


def floor_by_length(table: pd.DataFrame, operator: str, mode: str = "forward") -> pd.DataFrame:
    """Seconds over the floor's: a row a length, a column a provider; and the floor in ms."""
    rows = named(beside_the_floor(table)).query("operator == @operator and mode == @mode")
    times = rows.pivot(index="tokens", columns="provider", values="times the floor")[rows["provider"].unique()]
    return times.assign(**{"floor (ms)": rows.groupby("tokens")["floor_ms"].first()})


def floor_by_mode(table: pd.DataFrame) -> pd.DataFrame:
    """Seconds over the floor's, on one length: a row an operator and provider, a column a mode."""
    rows = named(beside_the_floor(table))
    keys = ["operator", "provider"]
    times = rows.pivot(index=keys, columns="mode", values="times the floor")
    return times.loc[list(rows[keys].drop_duplicates().itertuples(index=False, name=None))]


def selection_beside_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Median ms, forward, by length: the reading of chosen chunks, the selection, its share, the plain matrix."""
    ms = 1e3 * table[table["mode"] == "forward"].groupby(["operator", "provider", "shape.time"])["seconds"].median()
    reading, (choice, matrix) = ms["chosen chunks", "by chunk"], (ms["selection", by] for by in CHOOSERS)
    found = {
        "reading (ms)": reading, "selection (ms)": choice,
        "selection over reading": choice / reading, "plain matrix (ms)": matrix,
    }  # fmt: skip
    return pd.DataFrame(found).rename_axis("tokens")


def own_keys(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with heads of 64 that all have keys of their own: one shape a length."""
    return table[(table["shape.dim"] == 64) & (table["shape.kv_heads"] == table["shape.heads"])]


def by_group(table: pd.DataFrame, tokens: int) -> pd.DataFrame:
    """Median ms of one reading, forward, heads of 64: a row for each number of heads that share a key head.

    Causal attention, the selection, chosen chunks in both orders, and the better order with the selection over causal.
    """
    rows = table.query("`shape.time` == @tokens and `shape.dim` == 64 and mode == 'forward'")
    rows = rows.assign(group=rows["shape.heads"] // rows["shape.kv_heads"], ms=1e3 * rows["seconds"])
    ms = rows.groupby(["operator", "provider", "group"])["ms"].median()
    orders = {name.removeprefix("ours, "): ms["chosen chunks", name] for name in ORDERS}
    found = {"causal SDPA": ms["chosen chunks", "causal SDPA"], "selection": ms["selection", "ours"], **orders}
    found = pd.DataFrame(found).rename_axis("heads to a key head")
    best = found[list(orders)].min(axis=1) + found["selection"]
    return found.add_suffix(" (ms)").assign(**{WITH_CHOICE: best / found["causal SDPA"]})


def with_selection(table: pd.DataFrame) -> pd.DataFrame:
    """The table, and forward rows of those who read chosen chunks with the seconds of the selection added.

    Where both were timed, on one shape and seed. Backward has no such row: the selection has no gradient.
    """
    forward = table[table["mode"] == "forward"]
    keys, parts = [*SHAPE, "seed"], [table]
    for reader, chooser in READERS.items():
        choice = forward[(forward["operator"] == "selection") & (forward["provider"] == chooser)]
        rows = forward[(forward["operator"] == "chosen chunks") & (forward["provider"] == reader)]
        rows = rows.join(choice.set_index(keys)["seconds"].rename("choice"), on=keys, how="inner")
        added = rows.assign(seconds=rows["seconds"] + rows["choice"], provider=f"{reader} + selection")
        parts += [added.drop(columns="choice")] if len(added) else []
    return pd.concat(parts, ignore_index=True)


def over_causal(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each provider with `times`, its seconds over those of causal attention on the same operands."""
    keys = ["operator", "mode", *SHAPE, "seed"]
    causal = table[table["provider"] == "causal SDPA"].set_index(keys)["seconds"].rename("causal_seconds")
    rows = table[table["provider"] != "causal SDPA"].join(causal, on=keys, how="inner")
    return rows.assign(times=rows["seconds"] / rows["causal_seconds"])


def times_causal(table: pd.DataFrame, operator: str, mode: str = "forward") -> pd.DataFrame:
    """Seconds over those of causal attention, means over seeds: a row a length, a column a provider.

    ValueError for two shapes of one length.
    """
    rows = over_causal(table).query("operator == @operator and mode == @mode")
    if len(shapes := rows[SHAPE].drop_duplicates()) > rows["shape.time"].nunique():
        raise ValueError(f"{operator}, {mode}: {len(shapes)} shapes of {rows['shape.time'].nunique()} lengths; choose")
    return rows.groupby(["shape.time", "provider"])["times"].mean().unstack().rename_axis("tokens")


def crossing(times: pd.Series) -> tuple[float, float]:
    """By length: the last at which a provider is not faster than causal attention, and the first after it.

    0 and the first length where it is faster throughout; the last and infinity where it is not faster there.
    """
    slower = times.index[times >= 1]
    last = float(slower.max()) if len(slower) else 0.0
    return last, min((float(tokens) for tokens in times.index if tokens > last), default=math.inf)


def compiled_facts(table: pd.DataFrame) -> pd.DataFrame:
    """A row a kernel; a cell has the values for each width of a head, or the one that all have."""
    rows = table.drop_duplicates(["kernel", "dim"])
    wide, narrow = rows["wgmma"].map("{} wgmma".format), rows["mma"].map("{} mma".format)
    rows = rows.assign(
        products=wide.where(rows["wgmma"] > 0, narrow), shared=(rows["shared"] / 1024).map("{:.0f}".format)
    )
    facts = {
        "tiles": "tiles", "warps": "warps", "stages": "stages", "products": "products",
        "registers": "registers", "shared": "shared (KiB)",
    }  # fmt: skip
    cells = rows.groupby("kernel", sort=False)[list(facts)]
    return cells.agg(lambda cell: ", ".join(dict.fromkeys(map(_plain, cell)))).rename(columns=facts)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def which_is_faster(table: pd.DataFrame, tokens: int) -> str:
    """Which of the two ways to a window is faster than causal attention at a length, forward."""
    ratios = times_causal(table, "sliding window").loc[tokens]
    faster = tuple((ratios[["banded", "SDPA with a dense mask"]] < 1).tolist())
    outcome = {(True, True): "both", (True, False): "only the blocks", (False, True): "only the mask"}
    return outcome.get(faster, "neither")


def beside_the_bend(table: pd.DataFrame) -> str:
    """FLOPs a compulsory byte of the window's longest text, beside those at which memory and products are even."""
    rows = table.query("operator == 'sliding window' and mode == 'forward'")
    longest = rows.loc[rows["shape.time"].idxmax()]
    bend = longest["flops_per_second"] / longest["bytes_per_second"]
    said = f"The window at {longest['shape.time']:,} tokens: {longest['flops'] / longest['bytes']:.0f} FLOPs a byte."
    return f"{said} The bend: {bend:.1f}."
