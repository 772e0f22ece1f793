"""The race is the seesaw's own training, watched, and goes on from there."""

import pandas as pd
import pytest

from lablib.longcontext.experiments.race import RaceConfig, race
from lablib.longcontext.experiments.seesaw import SeesawConfig, train_seesaw


@pytest.fixture(scope="module")
def cfg() -> RaceConfig:
    return RaceConfig.at("smoke").replace(model__window=32)


@pytest.fixture(scope="module")
def table(cfg) -> pd.DataFrame:
    return race.function(cfg)


def test_the_first_part_is_bitwise_the_training_of_the_seesaw(cfg, table):
    same = SeesawConfig(seed=cfg.seed, model=cfg.model, data=cfg.data, train=cfg.train)
    _, training, _ = train_seesaw(same)
    first = table[table["part"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(first[training.columns], training, check_exact=True)


def test_steps_are_counted_through_both_parts(cfg, table):
    assert table["step"].tolist() == [2, 4, 8]
    assert table["part"].tolist() == [1, 1, 2]
    assert table["whole"].notna().all()


def test_a_cut_of_the_second_part_leaves_the_first_alone(cfg, table):
    cut = race.function(cfg.replace(more_window=4))
    first = table["part"] == 1
    columns = table.columns.drop("train_flops")  # of both parts
    pd.testing.assert_frame_equal(cut.loc[first, columns], table.loc[first, columns], check_exact=True)
    assert cut["loss"].iloc[-1] != table["loss"].iloc[-1]


def test_the_second_part_is_measured_with_the_windows_that_it_has(cfg, table):
    """A cut window reaches less far, so some answers lie outside; and it costs fewer FLOPs."""
    cut = race.function(cfg.replace(more_window=4))
    assert table["accuracy_outside"].isna().all(), "the whole row lies within the reach of the wide windows"
    assert cut.loc[cut["part"] == 2, "accuracy_outside"].notna().all()
    assert cut["train_flops"].iloc[0] < table["train_flops"].iloc[0]
