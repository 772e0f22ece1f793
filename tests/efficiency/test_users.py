"""Users of one base: what is shared is one model, averages are averages, and nobody's rows are another's."""

import copy

import pytest
import torch

from lablib.core.experiment import run_all
from lablib.efficiency.experiments.tuning import method
from lablib.efficiency.experiments.uses import bits, users
from lablib.efficiency.tuning import TuneConfig, tuning_rows
from lablib.efficiency.users import UsersConfig, mean_of, served
from lablib.nn.tuning import trainable

CFG = UsersConfig.at("smoke", tune=TuneConfig.at("smoke", tuning=method("LoRA")))


def test_users_differ_in_shift_and_rows_and_share_the_old_language():
    one, other = CFG.user(0), CFG.user(1)
    before, after = one.languages()
    assert torch.equal(before.table, other.languages()[0].table)
    assert not torch.equal(after.table, other.languages()[1].table)
    assert not torch.equal(tuning_rows(one).tokens, tuning_rows(other).tokens)


def test_one_model_for_all_is_one_and_others_are_their_own():
    assert len({id(model) for model in served(CFG)}) == 2
    for how in ("one for all", "averaged"):
        assert len({id(model) for model in served(CFG.replace(how=how))}) == 1


def test_the_mean_takes_what_is_trained_and_leaves_the_rest():
    first, second = served(CFG)
    found, base = mean_of([first, second]), copy.deepcopy(first)
    for name, weight in trainable(found).items():
        assert torch.allclose(weight, (trainable(first)[name] + trainable(second)[name]) / 2)
    frozen = {name: p for name, p in base.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(torch.equal(dict(found.named_parameters())[name], p) for name, p in frozen.items())


def test_one_user_averaged_once_is_the_user_alone():
    alone, averaged = (
        served(CFG.replace(users=1, rounds=1, how=how))[0].state_dict() for how in ("each alone", "averaged")
    )
    assert all(torch.equal(value, averaged[name]) for name, value in alone.items())


def test_rounds_that_do_not_share_the_steps_are_refused():
    with pytest.raises(ValueError, match="rounds is 2; expected a divisor of"):
        CFG.replace(rounds=2)


def test_the_experiments_say_what_is_kept_and_what_is_lost():
    table = run_all(users, users.arms("smoke"), in_process=True)
    kept = table.groupby("name")["kept"].first()
    assert kept["averaged, LoRA"] * 4 < kept["averaged, full"]
    averaged = table["how"] == "averaged"
    assert (table["sent"] == averaged * 2 * 3 * table["kept"]).all()


def test_fewer_bits_take_less_room():
    (arm,) = bits.arms("smoke")
    rows = run_all(bits, [arm, arm.replace(bits=2)], in_process=True)
    assert list(rows["what"].unique()) == ["rounded", "tuned", "distilled"]
    assert rows[rows["bits"] == 2]["stored"].iloc[0] < rows[rows["bits"] == 4]["stored"].iloc[0]
