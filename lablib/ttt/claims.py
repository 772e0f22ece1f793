"""The claims of notebook 03: the toy, reading on, the ladder, what was said once, cost."""

import itertools
from collections.abc import Callable, Iterator

import pandas as pd

from lablib.core import tables
from lablib.core.claims import Check, Claim, above, below, includes_zero
from lablib.ttt import summaries
from lablib.ttt.summaries import NAIVE

ONE, SIXTEEN = "TTT-E2E, b=1", "TTT-E2E, b=16"
MINE, WINDOW, FULL = "TTT-E2E", "sliding window", "full attention"
FIRST, SIMPLE, ALL_BLOCKS = "TTT-E2E, first order", "TTT-KVB, simplified", "TTT-E2E, all blocks"

Checks = Callable[[pd.DataFrame], Iterator[Check]]


def _less(*parts: tuple[str, tuple[int, int | None], Callable], spec: str = ".2f", mine: str = MINE) -> Checks:
    """Checks of TTT-E2E less another reader over stretches of positions: `("Mamba-2", (32, 1024), above)`."""

    def checks(table: pd.DataFrame) -> Iterator[Check]:
        for other, (start, stop), check in parts:
            where = f"{start:,} to {stop:,}" if stop else f"{start:,} on"
            yield check(f"minus {other}, {where}:", summaries.against(table, other, mine, start, stop), spec=spec)

    return checks


def _seeds(table: pd.DataFrame) -> int:
    return int(table.groupby("name")["seed"].nunique().min())


def _losses(table: pd.DataFrame, by: str, *, above_best: bool = False) -> pd.DataFrame:
    """Mean loss over seeds, whole or above the best possible, a row a way to read, a column a value of `by`."""
    rows = summaries.readings(table)
    rows = rows.assign(loss=rows["loss"] - rows["best"]) if above_best else rows
    return rows.pivot_table(index="series", columns=by, values="loss")


# ---- the toy (its arms at their best rate), and its variants


def _flat_inside(table: pd.DataFrame) -> Iterator[Check]:
    means = _losses(table, "start").loc[SIXTEEN]
    spread, fall = means.iloc[2:16].std(), means.iloc[15] - means.iloc[16]
    yield Check(spread < 0.03 and fall > 0.8, f"spread {spread:.3f} inside, {fall:.2f} lower after it", _seeds(table))


def _alone(table: pd.DataFrame) -> Iterator[Check]:
    for name in (ONE, SIXTEEN):
        apart = summaries.against(table, "no attention", f"{name}, read without", 56)
        yield above(f"{name}, loss minus the bigram's", apart, spec=".3f")


def _controls(table: pd.DataFrame) -> Iterator[Check]:
    loss, seeds = summaries.by_series(table, start=56).set_index("read as")["loss"], _seeds(table)
    rate = table.groupby("name")["trained_rate"].mean()["ascent, b=16"]
    still = abs(loss["ascent, b=16"] - loss["ascent, b=16, read without"]) < 1e-3
    yield Check(still and abs(rate) < 1e-3, f"ascent learns a rate of {abs(rate):.3f}", seeds)
    order = loss["first order, b=16"] - loss["exact, b=16"]
    yield Check(abs(order) < 0.02, f"first order minus exact {order:.3f}", seeds)
    clip = loss["not clipped, b=1"] - loss["clipped, b=1"]
    yield Check(0 < clip < 0.2, f"not clipped minus clipped {clip:.3f}", seeds)


def _bytes(table: pd.DataFrame) -> Iterator[Check]:
    least = 0.0
    for name in (NAIVE, SIXTEEN, ONE):
        share = summaries.share_closed(table, name)
        yield Check(least < share.estimate < 0.3, f"{name} {share.estimate:.2f}", share.seeds)
        least = share.estimate


TOY = (
    Claim("How much of the way to full attention does the inner loop close?", "most",
          lambda t: [above(n, summaries.share_closed(t, n), low) for n, low in ((ONE, 0.85), (SIXTEEN, 0.8))],
          "over the last eight of 64 tokens"),
    Claim("And naive reading?", "less than half",
          lambda t: [below("share", summaries.share_closed(t, NAIVE), 0.5)], "inner rate chosen on these texts"),
    Claim("Is nothing learnt inside a chunk of 16?", "yes", _flat_inside),
    Claim("Without the inner loop, are the weights better than the bigram?", "no, worse", _alone),
)  # fmt: skip
CHANGES = "Do ascent, first order and no clip change the inner loop?"
CONTROLS = (Claim(CHANGES, "ascent ends it; no clip costs a little; first order nothing", _controls),)
BYTES = (Claim("Is the order of the toy the same on bytes?", "yes, with a far shorter way", _bytes, "share closed"),)


# ---- from binding to end to end


def _binding(table: pd.DataFrame) -> Iterator[Check]:
    whole, kept = (summaries.against(table, WINDOW, name, 0, 256) for name in ("TTT-KVB", SIMPLE))
    yield below("KVB", whole, -0.25)
    yield below("simplified", kept)
    yield Check(kept.estimate > 0.5 * whole.estimate, "", kept.seeds)


def _largest(table: pd.DataFrame) -> Iterator[Check]:
    names = ("TTT-KVB", SIMPLE, ALL_BLOCKS, MINE)
    steps = [summaries.against(table, one, two, 256) for one, two in itertools.pairwise(names)]
    for check, name, step in zip((above, below, includes_zero), names[1:], steps, strict=True):
        yield check(f"to {name}", step)
    yield Check(-steps[1].estimate > abs(steps[0].estimate), "", steps[1].seeds)


def _cheap(table: pd.DataFrame) -> Iterator[Check]:
    yield from _less((ALL_BLOCKS, (0, 256), includes_zero), (ALL_BLOCKS, (256, None), includes_zero))(table)
    cost = table.groupby("name")["train_flops"].first()
    share = cost[MINE] / cost[ALL_BLOCKS]
    yield Check(share < 0.7, f"{share:.2f} of the FLOPs", _seeds(table))


LADDER = (
    Claim("Does binding values to keys beat the window alone?", "yes; simplified, by less than half", _binding,
          "up to 256 tokens"),
    Claim("Is the simplified form worse than the window beyond 256 tokens?", "not shown, though worse in the mean",
          _less((WINDOW, (256, None), includes_zero), mine=SIMPLE)),
    Claim("Which step is the largest, beyond 256 tokens?", "to the loss that counts", _largest),
    Claim("Is the last block alone as good as all blocks?", "no difference is shown", _cheap),
)  # fmt: skip


# ---- reading on: rows, sources, ablations


def _flat(table: pd.DataFrame) -> Iterator[Check]:
    losses = _losses(table, "start").loc[WINDOW].loc[lambda row: row.index >= 16]
    spread = losses.max() - losses.min()
    yield Check(spread < 0.03, f"spread over stretches from token 16 on {spread:.3f} nats", _seeds(table))


def _closer(table: pd.DataFrame) -> Iterator[Check]:
    rest = _losses(table, "stop", above_best=True).loc[MINE]
    said = f"{rest.iloc[0]:.3f} nats above it in the first, {rest.iloc[-1]:.3f} in the last"
    yield Check(rest.is_monotonic_decreasing and rest.iloc[-1] < 0.05, said, _seeds(table))


def _rising(table: pd.DataFrame) -> Iterator[Check]:
    names = {FULL: 256, "hybrid 5:1": 512, "TTT-KVB": 256}  # where each is closest to the best, from 256 on
    for name, rest in _losses(table, "stop", above_best=True).loc[[*names], 256:].iterrows():
        said = f"{name} {rest[256]:.2f} to {rest[2048]:.2f}"
        yield Check(rest.idxmin() == names[name] and rest.idxmax() == 2048, said, _seeds(table))
    yield from (check._replace(measured="") for check in _less(*((name, (1024, None), below) for name in names))(table))


def _mamba(table: pd.DataFrame) -> Iterator[Check]:
    yield from _less(("Mamba-2", (0, 1024), above), ("Mamba-2", (1024, None), includes_zero), spec=".3f")(table)
    rest = _losses(table, "stop")
    lower = (rest.loc["Mamba-2"] < rest.loc[MINE]).sum()
    yield Check(lower == rest.shape[1], f"lower in the mean in {lower} of {rest.shape[1]} stretches", _seeds(table))


def _lowest(table: pd.DataFrame) -> Iterator[Check]:
    mine = _losses(table, "stop").loc[MINE]
    yield Check(mine.is_monotonic_decreasing, "", _seeds(table))
    yield from _less(*((name, (128, None), below) for name in (WINDOW, NAIVE, FULL)))(table)


def _half(table: pd.DataFrame) -> Iterator[Check]:
    losses = _losses(table, "stop")
    share = ((losses.loc[WINDOW] - losses.loc[NAIVE]) / (losses.loc[WINDOW] - losses.loc[MINE]))[[256, 512, 1024]]
    yield Check(0.3 < share.min() < share.max() < 0.6, f"{share.min():.2f} to {share.max():.2f}", _seeds(table))


def _ablations(table: pd.DataFrame) -> Iterator[Check]:
    names = [name for name in table["name"].unique() if name != "as it is"]
    more = pd.Series({name: summaries.against(table, "as it is", name).estimate for name in names})
    better, same = ["two fast blocks", "chunk 8", "chunk 4"], ["window 64", "not clipped"]
    said = f"{more.min():+.3f} ({more.idxmin()}) to {more.max():+.3f} ({more.idxmax()}) nats"
    yield Check(more[better].max() < -2e-3 and more[same].abs().max() < 2e-3, said, _seeds(table))
    yield Check(more.drop([*better, *same]).min() > 2e-3 and more.abs().max() < 0.05, "", _seeds(table))


CONTEXT = (
    Claim("Does the window alone gain from further context?", "no", _flat),
    Claim("Does TTT-E2E come closer to the best possible loss in every stretch?", "yes", _closer),
    Claim("Is it ahead of the window and of naive reading, from token 1,024 on?", "yes",
          _less((WINDOW, (1024, None), below), (NAIVE, (1024, None), below))),
    Claim("Do full attention, the hybrid and KVB go on beyond 256 tokens?", "no, they rise (hybrid: from 512)", _rising,
          "nats above the best; attention has RoPE only"),
    Claim("Within 256 tokens, is TTT-E2E as good as full attention?", "no; from 16 to 256 no difference is shown",
          _less((FULL, (0, 16), above), (FULL, (16, 256), includes_zero), (FULL, (128, 256), above))),
    Claim("Is Mamba-2 better?", "up to 1,024 tokens; then no difference is shown", _mamba, "half the state"),
    Claim("Is Gated DeltaNet better?", "at first; then level; behind from 1,024 on", _less(
        *(("Gated DeltaNet", *part) for part in (((0, 32), above), ((32, 1024), includes_zero), ((1024, None), below))),
        spec=".3f")),
    Claim("Is exact better than first order?", "by about a hundredth of a nat",
          _less((FIRST, (128, 256), below), (FIRST, (1024, None), below), spec=".3f")),
)  # fmt: skip
SOURCES = (
    Claim("On sources, is TTT-E2E the lowest from 128 bytes on?", "yes", _lowest, "one rate for all, not swept"),
    Claim("Is it below the window before its first step?", "yes, so not all of its gain is reading on",
          _less((WINDOW, (0, 16), below), spec=".3f")),
    Claim("How much of the gain over the window has naive reading?", "about half", _half, "by stretch, from 128 on"),
    Claim("And full attention?", "best at first, level over 256, lost beyond",
          _less((FULL, (0, 16), above), (FULL, (0, 256), includes_zero), (FULL, (256, None), below))),
)  # fmt: skip
ABLATIONS = (Claim("Does a change of the inner loop matter as much as having it?", "no", _ablations),)


# ---- what was said once


def _shares(table: pd.DataFrame, by: str | list[str] = "name", columns: str = "nearest") -> pd.DataFrame:
    return table.query("phase == 'recall'").pivot_table(index=by, columns=columns, values="exact")


def _near(table: pd.DataFrame) -> Iterator[Check]:
    shares, seeds = _shares(table[table["questions"] == "near questions"]), _seeds(table)
    for place, where, low, high in ((3, "3 to 12", 0.9, 1), (13, "13 to 30", 0.25, 0.5), (121, "121 on", 0, 0.15)):
        answered = shares[place]
        holds = low < answered.min() and answered.max() <= high
        yield Check(holds, f"{where}: {answered.min():.2f} to {answered.max():.2f}", seeds)


def _anywhere(table: pd.DataFrame) -> Iterator[Check]:
    shares, seeds = _shares(table[table["questions"] == "questions anywhere"]), _seeds(table)
    mine, others = shares.loc[MINE], shares.drop(index=MINE)
    ends = all(abs(mine[near] - (near + far) / 2 / 64) < 0.05 for near, far in ((3, 12), (13, 30), (31, 60)))
    yield Check(ends and mine[[61, 121]].min() > 0.95, f"TTT-E2E {mine[3]:.2f} at 3 to 12, {mine[61]:.2f} at 61", seeds)
    yield Check(others.max().max() < 0.1, f"the others at most {others.max().max():.2f}", seeds)


def _rest(table: pd.DataFrame) -> Iterator[Check]:
    """The loss of the tokens that are no answers, after near questions."""
    rows = table.query("phase == 'recall' and questions == 'near questions'")
    rows = rows.groupby(["name", "seed"], as_index=False)["other_loss"].mean()
    for other, check in ((WINDOW, below), (FULL, includes_zero)):
        yield check(f"minus {other}", tables.difference(rows, "other_loss", other, MINE, by="name"))


def _taught(table: pd.DataFrame) -> Iterator[Check]:
    arms, seeds = _shares(table, ["name", "seed"]), _seeds(table)
    mine, full, window = (arms.loc[name] for name in (MINE, FULL, WINDOW))
    far, good = mine[[61, 121]].min().min(), (full.min(axis=1) > 0.99).sum()
    yield Check(mine.min().min() > 0.8 and far > 0.98, f"TTT-E2E at least {far:.2f} beyond 60 tokens", seeds)
    yield Check(good == 4, f"attention everywhere in {good} of {len(full)} seeds", seeds)
    held = window[[3, 13, 31]].mean()
    said = f"the window {held.min():.2f} to {held.max():.2f} up to 60, {window[121].mean():.2f} at 121"
    yield Check(window[121].max() < 0.1 and 0.6 < held.min() < held.max() < 0.8, said, seeds)


def _capacity(table: pd.DataFrame) -> Iterator[Check]:
    shares = _shares(table, "fast_weights", "facts")
    seeds = int(table.query("phase == 'recall'").groupby("fast_weights")["seed"].nunique().min())
    for weights, one, sixteen in shares[[1, 16]].itertuples():
        few = weights == shares.index.min()
        holds = one < 0.6 and sixteen < 0.6 * one if few else sixteen > max(0.8, one - 0.05)
        yield Check(holds, f"{weights:,} weights {one:.2f} of one, {sixteen:.2f} of sixteen", seeds)


ASKED = (
    Claim("Trained with near questions, who remembers beyond the window?", "nobody", _near,
          "all are near chance (0.06), so this compares no memories"),
    Claim("Does TTT-E2E then read the rest of the text better?", "than the window; than full attention not shown",
          _rest, "loss of all tokens but the answers, in nats"),
    Claim("Trained with questions at any distance?", "TTT-E2E, what lies in an earlier chunk", _anywhere),
)  # fmt: skip
TAUGHT = (Claim("Once all have learnt to look, do weights remember?", "yes, beyond their own chunk", _taught),)
CAPACITY = (Claim("Do more weights hold more facts?", "open: the fewest fail at one fact already", _capacity),)


# ---- cost


def _token(table: pd.DataFrame) -> Iterator[Check]:
    seeds = table["seed"].nunique()
    for name, low, high in ((MINE, 0, 1.15), (WINDOW, 0, 1.15), (FULL, 8, 16)):
        seconds = summaries.token_costs(table, name)
        times = seconds[16_384] / seconds[1024]
        yield Check(low < times < high, f"{name} {times:.1f} times", seeds)
    full, mine = (summaries.token_costs(table, name, "decode_seconds")[131_072] for name in (FULL, MINE))
    yield Check(full > 20 * mine, f"decoding at 128K, full attention over TTT-E2E {full / mine:.0f}", seeds)


def _step(table: pd.DataFrame) -> Iterator[Check]:
    times, flops = summaries.step_costs(table).set_index(["order", "chunk"]).loc[("exact", 16)]
    said = f"{times:.1f} times the seconds, {flops:.2f} the FLOPs"
    yield Check(times < 2.5 and flops < 1.3, said, table["seed"].nunique())


def _memory(table: pd.DataFrame) -> Iterator[Check]:
    least, seeds = summaries.square_root_law(table).set_index("chunks"), table["seed"].nunique()
    ratio, grown = least["least memory with groups of"] / least["square root"], least.loc[256] / least.loc[16]
    yield Check(ratio.between(0.25, 2).all(), f"best group over the square root {ratio.mean():.2f}", seeds)
    yield Check(grown["MiB"] < 7, f"16 times the chunks: {grown['MiB']:.1f} times the memory", seeds)
    plain = grown["MiB without checkpoints"]
    yield Check(plain > 14, f"without checkpoints {plain:.0f}", seeds)


COST = (Claim("Does a token cost the same behind a long text?", "yes; full attention's does not", _token,
              "prefill at 16K over 1K", repeated=True),)  # fmt: skip
STEPS = (Claim("What does an outer step cost, in chunks of 16?", "about two plain ones", _step, repeated=True),)
MEMORY = (Claim("Does memory grow with the square root of the chunks?", "a little faster", _memory, repeated=True),)
