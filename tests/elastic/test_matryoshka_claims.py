"""The claims on embeddings that may be cut hold in the recorded tables, and fail in planted ones; rates are tuned."""

import pytest
from planted import cases, few_seeds, level, shifted, swapped

from lablib.core.claims import NOT_SHOWN
from lablib.elastic import matryoshka_claims as claims
from lablib.elastic.experiments.matryoshka import CLASS_WAYS, PAIR_WAYS, classes, retrieval
from lablib.elastic.figures.embeddings import adaptive_figure

CUT_PLAIN = swapped("name", "MRL", "plain")
CASES = {
    classes: cases(
        claims.CLASSES,
        CUT_PLAIN,
        shifted(0.1, "right", "name == 'independent' and dims == 16"),
        shifted(0.2, "right", "name == 'plain, for the whole' and how == 'PCA'"),
        swapped("name", "MRL", "MRL-E"),
        shifted(0.02, "right", "name == 'plain, for the whole' and dims == 64"),
        level(0.9, "right", where="name == 'MRL' and dims == 4"),
    ),
    retrieval: cases(
        claims.RETRIEVAL,
        CUT_PLAIN,
        shifted(0.2, "right", "name == 'MRL' and dims > 16"),
        shifted(0.2, "right", "name == 'MRL, more weight'"),
        shifted(0.2, "right", "name == 'plain, longer' and dims == 64"),
        swapped("dims", 12, 16),
        level(0.9, "right_wrong_order"),
        shifted(-0.1, "right", "name == 'MRL' and stages == '16/200, 64/1'"),
        shifted(-0.1, "right", "name == 'MRL' and stages == '8/200, 16/50, 64/1'"),
    ),
}
ALL = [(made, claim, plant) for made, pairs in CASES.items() for claim, plant in pairs]


@pytest.fixture(scope="module")
def recorded():
    return {made: made.recorded() for made in CASES}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[f"{a.name}: {claim.question}" for a, claim, _ in ALL])
def test_a_claim_on_prefixes_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    verdict = claim(recorded[made])
    assert verdict.holds, verdict
    assert verdict.seeds == 5
    assert claim(plant(recorded[made])).verdict == NOT_SHOWN
    assert claim(few_seeds(recorded[made])).verdict == NOT_SHOWN


@pytest.mark.parametrize(("made", "ways"), [(classes, CLASS_WAYS), (retrieval, PAIR_WAYS)])
def test_each_way_is_reported_at_the_best_rate_of_its_tuning(recorded, made, ways):
    cut, pca = (claims.best_rates(recorded[made], how) for how in ("cut", "PCA"))
    assert ways["plain"][1] == pca["plain"]
    assert all(ways[name][1] == cut[name] for name in set(ways) & set(cut.index) - {"plain"})


def test_the_weight_of_the_whole_and_the_rate_for_it_are_the_best_of_their_tuning(recorded):
    rows = recorded[retrieval].query(
        "first_seed > 0 and phase == 'scan' and name == 'MRL, more weight' and how == 'cut'"
    )
    weight = (
        rows.assign(weight=rows["prefixes.weights"].str.split().str[-1].astype(float)).groupby("weight")["right"].mean()
    )
    assert PAIR_WAYS["MRL, more weight"][2]["prefixes__weights"][-1] == weight.idxmax()
    whole = recorded[classes].query("first_seed > 0 and phase == 'scan' and name == 'plain' and dims == 64")
    assert CLASS_WAYS["plain, for the whole"][1] == whole.groupby("train.optim.lr")["right"].mean().idxmax()


def test_series_are_what_is_reported_once_each(recorded):
    for table in recorded.values():
        rows = claims.series(table)
        scans = rows[rows["phase"] == "scan"]
        assert (rows["first_seed"] == 0).all()
        assert not scans.duplicated(["series", "seed", "dims"]).any()
        assert {"plain, cut", "plain, PCA", "MRL", "independent"} <= set(rows["series"])


def test_the_figure_of_flops_has_a_point_for_each_search(recorded):
    drawn = adaptive_figure(recorded[retrieval])
    points = {trace.name: len(trace.x) for trace in drawn.data if trace.mode == "lines+markers"}
    assert points == {"one scan": 7, "shortlist of 50": 3, "shortlist of 200": 3, "funnel": 2}
    assert "30 % of the FLOPs" in drawn.layout.meta["title"]
    shares = recorded[retrieval].query("stages == '16/200, 64/1'")["share"]
    assert (shares == 0.3).all()
