"""Initial values: drawn from the generator given, by the table of `lablib/nn/init.py`; scores can be learnt from."""

import pytest
import torch
from torch import Generator

from lablib.longcontext.seesaw import watch_retrieval
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig


def make_model(plan: str = "swa memory swa+hsa", seed: int = 0, **changes) -> LanguageModel:
    cfg = ModelConfig(**{"plan": plan, "vocab": 20, "width": 16, "window": 4, "chunk": 8, "top_k": 2, **changes})
    return LanguageModel(cfg, Generator().manual_seed(seed)).eval()


def draw_tokens(generator, *shape, vocab: int = 20):
    return torch.randint(vocab, shape, generator=generator)


@pytest.mark.parametrize("plan", ["swa", "full full", "swa memory swa+hsa swa hsa"])
def test_the_same_generator_gives_the_same_weights_and_another_seed_others(plan):
    one, same, other = (make_model(plan, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    drawn = [name for name, value in one.items() if not torch.equal(value, other[name])]
    assert "embedding.weight" in drawn
    assert "head.weight" in drawn


def test_building_a_model_takes_nothing_from_the_global_generator():
    state = torch.random.get_rng_state()
    make_model(seed=3)
    weights = make_model(seed=3).state_dict()
    torch.manual_seed(99)
    other = make_model(seed=3).state_dict()
    torch.random.set_rng_state(state)
    assert all(torch.equal(value, other[name]) for name, value in weights.items())


def test_every_parameter_starts_as_the_table_of_initial_values_says():
    model = make_model("swa swa memory swa+hsa swa", width=64, vocab=500, retrieval_init="ordinary")
    layers = 4
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            assert (parameter == 1).all(), name
            continue
        leaf = name.split(".")[-2]
        expected = 1.0 if leaf == "embedding" or name == "encoder.token" else parameter.shape[-1] ** -0.5
        if leaf in ("out", "down"):
            expected /= (2 * layers) ** 0.5
        allowed = 5 / (2 * parameter.numel()) ** 0.5  # five standard errors of a standard deviation
        parameter = parameter.detach()
        assert float(parameter.std()) == pytest.approx(expected, rel=allowed), name
        assert abs(float(parameter.mean())) < 5 * expected / parameter.numel() ** 0.5, name


def test_identity_is_really_the_identity_on_the_retrieval_path_and_nowhere_else():
    for init, identical in (("identity", True), ("identity-read", True), ("ordinary", False)):
        model = make_model("swa memory swa+hsa swa+hsa", retrieval_init=init, num_kv_heads=2)
        eye = torch.eye(16)
        path = {
            "encoder.to_landmark.weight",
            "encoder.mix.value.weight",
            "encoder.mix.out.weight",
            "blocks.1.mixers.1.part.retriever.query.weight",
            "blocks.2.mixers.1.part.retriever.query.weight",
        }
        if init == "identity-read":
            path |= {
                "encoder.to_value.weight",
                "blocks.1.mixers.1.part.out.weight",
                "blocks.2.mixers.1.part.out.weight",
            }
        found = {name for name, p in model.named_parameters() if p.shape == eye.shape and torch.equal(p, eye)}
        assert found == (path if identical else set())


def test_an_identity_read_needs_all_heads():
    with pytest.raises(ValueError, match="as many key-value heads as heads; got 1 and 2"):
        make_model(retrieval_init="identity-read", num_heads=2, num_kv_heads=1)


@pytest.mark.parametrize("init", ["identity", "ordinary"])
@pytest.mark.parametrize("landmark", ["encoded", "mean"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_retrieval_scores_start_with_a_spread_near_one(init, landmark, kv_heads, generator):
    """Much more and the softmax is one-hot at the start and passes no gradient; much less and it chooses nothing."""
    model = make_model(
        width=32, num_kv_heads=kv_heads, retrieval_init=init, landmark=landmark, top_k=99, vocab=50, window=8
    )
    with torch.no_grad(), watch_retrieval(model) as seen:
        model(draw_tokens(generator, 16, 128, vocab=50))
    scores = seen[0].scores
    spread = float(scores[scores > -torch.inf].std())
    assert 0.5 < spread < 2
