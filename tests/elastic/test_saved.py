"""Saved models and their slices: whole round trips, advice, and folders that hold something else."""

import json

import pytest
import torch
from click.testing import CliRunner
from small_parent import BUDGETS, SMALL, make_parent, make_tokens

from lablib.app.cli import main
from lablib.elastic.budgets import Budget
from lablib.elastic.saved import SavedModelError, advice, load_model, parse_budget, save_model, save_slice
from lablib.elastic.slices import sliced

TRAINED = {"large": Budget(), "small": Budget(width=8, hidden=(12, 10), mamba_heads=1)}


@pytest.fixture
def saved(tmp_path):
    model = make_parent(torch.float32).eval()
    save_model(tmp_path / "family", model, TRAINED)
    return tmp_path / "family", model


def test_a_model_comes_back_with_its_budgets(saved, tmp_path):
    _, model = saved
    save_model(tmp_path, model, TRAINED | {"by layer": BUDGETS["jointly"]})
    again, trained = load_model(tmp_path)
    assert torch.equal(again(make_tokens()), model(make_tokens()))
    assert trained == TRAINED | {"by layer": BUDGETS["jointly"]}


def test_a_slice_is_written_and_loads_as_an_ordinary_model(saved, tmp_path):
    folder, model = saved
    found = CliRunner().invoke(main, ["slice", str(folder), "--budget", "small", "--to", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert "plan 'mamba2:2x6+no-mlp relu2:12" in found.output
    assert "note" not in found.output
    again, trained = load_model(tmp_path / "out")
    assert torch.equal(again(make_tokens()), sliced(model, TRAINED["small"])(make_tokens()))
    assert trained == {}


def test_budgets_between_and_below_the_trained_ones_are_told(saved, tmp_path):
    assert advice(SMALL, TRAINED["small"], TRAINED) == ""
    assert advice(SMALL, Budget(width=16), TRAINED) == ""  # the large one by another spelling
    assert "should lie between those of large, small" in advice(SMALL, Budget(width=10), TRAINED)
    for below in (Budget(width=7), TRAINED["small"].replace(hidden=9), TRAINED["small"].replace(layers=(0, 1, 2, 3))):
        assert "less than small, the smallest" in advice(SMALL, below, TRAINED)
    with pytest.warns(UserWarning, match="less than small"):
        save_slice(saved[0], "width=7", tmp_path / "low")
    found = CliRunner().invoke(main, ["slice", str(saved[0]), "--budget", "width=7", "--to", str(tmp_path / "x")])
    assert "note: this budget keeps less than small" in found.output


@pytest.mark.parametrize("text", ["tiny", "width", "width=", "width=a", "layers=3", "width=8,depth=2", "", "width=-1"])
def test_a_budget_that_cannot_be_read_is_refused_with_those_there_are(text):
    with pytest.raises(ValueError, match="expected one of large, small, or fields such as width=48"):
        parse_budget(text, TRAINED)


def damaged(folder, how: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    facts = json.loads(config.read_text())
    if how == "nothing there":
        config.unlink()
    elif how == "no JSON":
        config.write_text("{")
    elif how == "half a file":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "another width":
        config.write_text(json.dumps(facts | {"model": facts["model"] | {"width": 12}}))
    elif how == "another plan":
        config.write_text(json.dumps(facts | {"model": facts["model"] | {"plan": "relu2:24"}}))
    elif how == "no list":
        config.write_text("[]")
    else:
        config.write_text(json.dumps(facts | {"model": facts["model"] | {"depth": 12}}))


@pytest.mark.parametrize(
    "how", ["nothing there", "no JSON", "half a file", "another width", "another plan", "no list", "an unknown field"]
)
def test_a_folder_that_holds_something_else_is_refused_in_one_line(saved, tmp_path, how):
    folder, _ = saved
    damaged(folder, how)
    with pytest.raises(SavedModelError, match=r"holds no model|are of another model"):
        load_model(folder)
    found = CliRunner().invoke(main, ["slice", str(folder), "--budget", "small", "--to", str(tmp_path / "out")])
    assert found.exit_code == 2
    assert found.output.startswith("lab: ")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = make_parent(torch.float32)
    with torch.no_grad():
        model.norm.gain[0] = float("nan")
    save_model(tmp_path, model)
    with pytest.raises(SavedModelError, match=r"norm\.gain in .* not finite"):
        load_model(tmp_path)


def test_a_budget_of_another_parent_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="width is 17; expected 1 to 16"):
        save_model(tmp_path / "new", make_parent(), {"too wide": Budget(width=17)})
    assert not (tmp_path / "new").exists()


def test_the_folder_of_the_model_is_not_written_over(saved):
    folder, model = saved
    found = CliRunner().invoke(main, ["slice", str(folder), "--budget", "small", "--to", str(folder)])
    assert found.exit_code == 2
    assert torch.equal(load_model(folder)[0](make_tokens()), model(make_tokens()))
