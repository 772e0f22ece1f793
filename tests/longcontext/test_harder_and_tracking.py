"""The harder questions go to the seesaw's own models; chains are mixed with rows of one look-up."""

import pytest
from torch import Generator

from lablib.longcontext.experiments.harder import HarderConfig, harder, harder_arms
from lablib.longcontext.experiments.seesaw import SeesawConfig, over_text, seesaw_arms, train_seesaw
from lablib.longcontext.experiments.tracking import GROUPS, TrackingConfig, rows_of
from lablib.nn.model import LanguageModel


def test_models_that_the_seesaw_has_trained_are_asked_and_not_trained_again():
    trained = {(cfg.seed, cfg.objective, cfg.model, cfg.data, cfg.train) for cfg in seesaw_arms("full")}
    for cfg in harder_arms("full"):
        if cfg.data == HarderConfig().data:
            assert (cfg.seed, cfg.objective, cfg.model, cfg.data, cfg.train) in trained


def test_one_training_serves_both_experiments():
    cfg = HarderConfig.at("smoke")
    _, _, place = train_seesaw(SeesawConfig.at("smoke", model=cfg.model, data=cfg.data))
    written = place.stat().st_mtime_ns
    harder.function(cfg)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert place.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        (HarderConfig(), {"one needle", "one distractor", "growing distractors", "no marker", "a gap in the needle"}),
        (
            HarderConfig().replace(data__key_tokens=2, data__num_pairs=2),
            {"one needle", "needles as in training", "one distractor", "growing distractors"},
        ),
        (over_text(HarderConfig()), {"one needle", "one distractor", "growing distractors"}),
    ],
    ids=["plain", "two-token keys", "text"],
)
def test_every_kind_of_rows_is_asked_under_the_conditions_that_fit_it(cfg, expected):
    found = cfg.conditions(4096)
    assert expected <= set(found)
    assert found["growing distractors"]["distractors"] == 64
    assert ("needles as in training" in found) == (cfg.data.num_pairs > 1)


def test_the_shares_of_rows_are_those_of_the_configuration():
    cfg = TrackingConfig()
    batch = rows_of(cfg)(4000, Generator().manual_seed(0))
    asks = (batch.tokens == cfg.data.ask).sum(dim=1)
    assert float((asks == 0).float().mean()) == pytest.approx(cfg.restated, abs=0.03)
    assert float((asks == 6).float().mean()) == pytest.approx(cfg.needles, abs=0.03)
    assert set(asks.tolist()) == {0, 1, 6}


@pytest.mark.parametrize("shares", [{"restated": -0.1}, {"needles": 0.7}, {"restated": 1.0}], ids=str)
def test_shares_that_leave_no_chains_are_refused(shares):
    with pytest.raises(ValueError, match="together < 1"):
        TrackingConfig(**shares)


def test_one_and_two_groups_are_equally_deep():
    depth = {name: sum(word != "memory" for word in plan.split()) for name, plan in GROUPS.items()}
    assert set(depth.values()) == {3}
    cfg = TrackingConfig()
    sizes = [
        sum(p.numel() for p in LanguageModel(cfg.replace(model__plan=plan).model).parameters())
        for plan in GROUPS.values()
    ]
    assert sizes[0] < sizes[1] < 1.2 * sizes[0]
