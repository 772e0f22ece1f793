"""The language model: every plan is causal to the bit, reads as far as it may, and refuses what cannot be built."""

import pytest
import torch
from torch import Generator

from lablib.nn.model import LanguageModel, state_bytes
from lablib.nn.plan import ModelConfig

PLANS = (
    "swa",
    "swa swa",
    "full full",
    "full-nope full-nope",
    "memory hsa",
    "swa memory hsa",
    "swa memory swa+hsa",
    "full memory full swa+hsa",
    "swa swa memory swa+hsa swa swa+hsa",
)
HSA_VARIANTS = {
    "softmax": {},
    "stick-breaking": {"fusion": "stick-breaking"},
    "concat": {"fusion": "concat"},
    "mean landmark": {"landmark": "mean"},
    "no bypass": {"bypass": False},
    "RoPE on the read": {"hsa_rope": True},
    "ordinary start": {"retrieval_init": "ordinary"},
    "two retrieval heads": {"num_kv_heads": 2},
    "all chunks": {"top_k": 99},
}


def make_model(plan: str = "swa memory swa+hsa", seed: int = 0, **changes) -> LanguageModel:
    cfg = ModelConfig(**{"plan": plan, "vocab": 20, "width": 16, "window": 4, "chunk": 8, "top_k": 2, **changes})
    return LanguageModel(cfg, Generator().manual_seed(seed)).eval()


def draw_tokens(generator, *shape, vocab: int = 20):
    return torch.randint(vocab, shape, generator=generator)


def changed_positions(model, tokens, place: int) -> list[int]:
    """Where the logits differ, bitwise, when one token is another."""
    other = tokens.clone()
    other[:, place] = (other[:, place] + 7) % model.cfg.vocab
    with torch.no_grad():
        return (model(tokens) != model(other)).any(-1).any(0).nonzero()[:, 0].tolist()


# ---- causality


def assert_causal(model, tokens, generator, cuts):
    length = tokens.shape[1]
    with torch.no_grad():
        before = model(tokens)
        for cut in cuts:
            other = tokens.clone()
            other[:, cut + 1 :] = (tokens[:, cut + 1 :] + 1 + draw_tokens(generator, length - cut - 1, vocab=18)) % 20
            after = model(other)
            assert torch.equal(after[:, : cut + 1], before[:, : cut + 1]), f"token {cut + 1} or later changed the past"
            assert not torch.equal(after[:, cut + 1 :], before[:, cut + 1 :])


@pytest.mark.parametrize("length", [2, 7, 8, 9, 16, 17, 63, 64])
@pytest.mark.parametrize("plan", PLANS)
def test_the_future_changes_no_bit_of_the_past(plan, length, generator):
    cuts = {cut for cut in (0, 5, 6, 7, 8, 14, 15, 16, 31, 47, 55, 61, 62) if cut < length - 1}
    assert_causal(make_model(plan), draw_tokens(generator, 2, length), generator, sorted(cuts))


@pytest.mark.parametrize("changes", HSA_VARIANTS.values(), ids=HSA_VARIANTS.keys())
def test_every_kind_of_retrieval_is_causal_to_the_bit(changes, generator):
    model = make_model("swa swa memory swa+hsa swa swa+hsa", **changes)
    assert_causal(model, draw_tokens(generator, 2, 41), generator, [0, 7, 8, 15, 16, 23, 30, 39])


@pytest.mark.parametrize("plan", PLANS)
def test_a_single_token_has_finite_logits(plan, generator):
    logits = make_model(plan)(draw_tokens(generator, 3, 1))
    assert logits.shape == (3, 1, 20)
    assert logits.isfinite().all()


@pytest.mark.parametrize("changes", HSA_VARIANTS.values(), ids=HSA_VARIANTS.keys())
@pytest.mark.parametrize("length", [1, 7, 8, 9])
def test_rows_without_any_chunk_train_without_nan(changes, length, generator):
    model = make_model(**changes)
    model(draw_tokens(generator, 2, length)).square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("plan", PLANS)
def test_rows_of_a_batch_do_not_see_each_other(plan, generator):
    model, tokens = make_model(plan), draw_tokens(generator, 3, 25)
    with torch.no_grad():
        together = model(tokens)
        for row in range(3):
            torch.testing.assert_close(model(tokens[row : row + 1]), together[row : row + 1], atol=1e-5, rtol=1e-5)


# ---- who can read what


@pytest.mark.parametrize("window", [1, 4, 9])
@pytest.mark.parametrize("plan", ["swa", "swa swa", "swa swa swa"])
def test_sliding_windows_carry_exactly_as_far_as_their_stacked_reach(plan, window, generator):
    model = make_model(plan, window=window)
    assert model.reach == len(plan.split()) * (window - 1)
    assert changed_positions(model, draw_tokens(generator, 1, 40), 5) == list(range(5, 5 + model.reach + 1))


@pytest.mark.parametrize("changes", HSA_VARIANTS.values(), ids=HSA_VARIANTS.keys())
@pytest.mark.parametrize("place", [0, 7, 8, 12, 15, 37])
def test_a_chunk_is_visible_only_when_it_is_complete(place, changes, generator):
    """Without sliding windows a token is seen by itself, and through its chunk c from (c + 1) * size on."""
    model = make_model("memory hsa", **{**changes, "top_k": 99})
    complete = (place // 8 + 1) * 8
    expected = [place, *range(complete, 41)]
    found = changed_positions(model, draw_tokens(generator, 1, 41), place)
    if model.cfg.fusion == "stick-breaking":  # weights of old chunks may round to nothing
        assert set(found) <= set(expected)
        assert set(found) >= set(expected[:3])
    else:
        assert found == expected


def test_full_attention_without_positions_does_not_see_the_order_of_the_past(generator):
    tokens = draw_tokens(generator, 1, 20)
    shuffled = tokens.clone()
    shuffled[:, :19] = tokens[:, torch.randperm(19, generator=generator)]
    with torch.no_grad():
        for plan, blind in (("full-nope", True), ("full", False)):
            model = make_model(plan)
            same = torch.allclose(model(tokens)[:, -1], model(shuffled)[:, -1], atol=1e-5)
            assert same == blind


def test_a_window_over_the_whole_input_is_a_layer_of_full_attention(generator):
    tokens, wide, full = draw_tokens(generator, 2, 30), make_model("swa", window=30), make_model("full")
    with torch.no_grad():
        torch.testing.assert_close(wide(tokens), full(tokens))


# ---- the grammar


def num_weights(plan: str, **changes) -> int:
    return sum(p.numel() for p in make_model(plan, **changes).blocks.parameters())


def test_a_word_names_its_mlp_or_has_none():
    gated, ungated, norm = 3 * 16, 2 * 16, 16  # weights a unit of width, and the gain before an MLP
    alone = num_weights("swa+no-mlp")
    assert num_weights("swa") - alone == norm + 32 * gated
    assert num_weights("swa+mlp:5") - alone == norm + 5 * gated
    assert num_weights("swa+relu2:5") - alone == norm + 5 * ungated
    assert num_weights("swa", hidden=7) - alone == norm + 7 * gated
    assert num_weights("swa+prime:3+no-mlp") - alone == norm + 3 * gated
    assert num_weights("mlp") == num_weights("swa") - alone


def test_layers_that_share_weights_are_the_same_layer_at_several_depths(generator):
    shared, tokens = make_model("swa 2*swa swa"), draw_tokens(generator, 2, 30)
    assert num_weights("3*swa") == num_weights("swa")
    apart = make_model("swa swa swa swa")
    apart.load_state_dict(shared.state_dict())
    with torch.no_grad():
        assert torch.equal(shared(tokens), apart(tokens))
    assert shared.reach == apart.reach == 4 * 3
    assert shared.cfg.layers.depth == 4


def test_biases_are_there_where_the_config_asks_and_start_at_zero(generator):
    tokens = draw_tokens(generator, 2, 20)
    plain, biased = make_model("swa full+relu2"), make_model("swa full+relu2", bias=True)
    names = {name for name, _ in biased.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert len(names) == 4 + 3 + 4 + 2
    assert all(name.endswith(".bias") and not p.any() for name, p in biased.named_parameters() if name in names)
    with torch.no_grad():
        assert torch.equal(plain(tokens), biased(tokens))
        biased.blocks[0].mixers[0].part.value.bias.fill_(1.0)
        assert not torch.equal(plain(tokens), biased(tokens))


class Balanced(torch.nn.Module):
    """An MLP that returns an auxiliary loss beside its output, as routers of experts do."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp

    def forward(self, x):
        y = self.mlp(x)
        return y, y.square().mean()


def test_an_auxiliary_loss_of_a_layer_is_handed_up_once_a_pass(generator):
    model, tokens = make_model("swa memory swa+hsa"), draw_tokens(generator, 2, 30)
    expected, _, nothing = model.run(tokens)
    for block in model.blocks:
        block.mlp.part = Balanced(block.mlp.part)
    logits, _, losses = model.run(tokens)
    assert (len(nothing), len(losses)) == (0, 2)
    assert torch.equal(logits, expected)
    assert len(model.run(tokens)[2]) == 2


# ---- options


@pytest.mark.parametrize(
    "changes",
    [
        {"bypass": False},
        {"hsa_rope": True},
        {"fusion": "concat"},
        {"fusion": "stick-breaking"},
        {"landmark": "mean"},
        {"top_k": 1},
    ],
    ids=str,
)
def test_every_option_changes_what_the_model_computes_and_none_of_its_weights(changes, generator):
    plain, other = make_model(), make_model(**changes)
    weights = other.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    tokens = draw_tokens(generator, 2, 40)
    with torch.no_grad():
        assert not torch.allclose(plain(tokens)[:, 24:], other(tokens)[:, 24:], atol=1e-5)


def test_with_bypass_the_read_reaches_the_stream_only_through_the_mlp(generator):
    tokens = draw_tokens(generator, 1, 40)
    with torch.no_grad():
        for bypass in (True, False):
            model = make_model("memory hsa", bypass=bypass)
            model.blocks[0].mlp.part.down.weight.zero_()
            blind = torch.equal(model(tokens), model.logits(model.embedding(tokens)))
            assert blind == bypass


def test_the_retrieval_parameters_are_the_landmark_map_and_every_retrieval_query():
    model = make_model("swa memory swa+hsa swa hsa")
    names = {id(p): name for name, p in model.named_parameters()}
    assert [names[id(p)] for p in model.retrieval_parameters()] == [
        "encoder.to_landmark.weight",
        "blocks.1.mixers.1.part.retriever.query.weight",
        "blocks.3.mixers.0.part.retriever.query.weight",
    ]
    assert make_model("swa swa").retrieval_parameters() == []


@pytest.mark.parametrize("fusion", ["softmax", "stick-breaking", "concat"])
def test_the_loss_trains_the_selection_unless_the_chunks_are_concatenated(fusion, generator):
    model = make_model(fusion=fusion)
    model(draw_tokens(generator, 2, 40)).logsumexp(-1).mean().backward()
    norms = [0.0 if p.grad is None else float(p.grad.norm()) for p in model.retrieval_parameters()]
    if fusion == "concat":
        assert norms == [0.0, 0.0]
    else:
        assert min(norms) > 1e-6
    assert float(model.blocks[1].mixers[1].part.query.weight.grad.norm()) > 1e-6


def test_an_hsa_layer_without_a_memory_is_refused(generator):
    model = make_model("memory hsa")
    with pytest.raises(ValueError, match="an HSA layer reads a memory at known positions: give both"):
        model.blocks[0](torch.randn(2, 8, 16, generator=generator), None, model.context())


def test_tokens_are_unchanged(generator):
    tokens = draw_tokens(generator, 2, 40)
    before = tokens.clone()
    make_model()(tokens)
    assert torch.equal(tokens, before)


@pytest.mark.parametrize("plan", ["swa", "full full", "memory hsa", "swa memory swa+hsa"])
def test_the_state_to_go_on_is_what_caches_and_chunk_store_hold(plan):
    model = make_model(plan, window=4, num_kv_heads=2)
    for length in (3, 50):
        with torch.no_grad():
            state = model.read(torch.zeros(1, length, dtype=torch.long))[1]
        kept = state_bytes((state.layers, state.memory))
        # the closed form counts whole windows; a cache leaves out the token that the next one pushes out
        beyond = plan.count("swa") * (min(4, length) - min(3, length)) * 2 * 16 * 4
        assert model.cfg.state_bytes(length) == kept + beyond


WRONG = {
    "an unknown part": ({"plan": "swa mamba"}, r"'swa mamba' has the unknown parts \['mamba'\]; expected swa, full"),
    "an empty plan": ({"plan": " "}, "has no layer; expected words such as swa, of swa, full"),
    "no MLP and nothing else": ({"plan": "no-mlp"}, "'no-mlp' is no layer"),
    "two MLPs": ({"plan": "swa+mlp+relu2"}, r"'swa\+mlp\+relu2' is no layer; expected mixers, then prime"),
    "a mixer behind the MLP": ({"plan": "mlp+swa"}, r"'mlp\+swa' is no layer"),
    "an MLP without width": ({"plan": "swa+mlp:0"}, r"'swa\+mlp:0' is no layer; .* widths as in mlp:96"),
    "a width of words": ({"plan": "swa+mlp:wide"}, "is no layer"),
    "a width of a mixer": ({"plan": "swa:8"}, "'swa:8' is no layer"),
    "a mixer without heads": ({"plan": "full:0x8"}, "'full:0x8' is no layer; .* heads and channels as in full:3x16"),
    "heads of a mixer without a choice": ({"plan": "delta:2x8"}, "'delta:2x8' is no layer"),
    "three numbers": ({"plan": "mamba2:2x8x8"}, "is no layer"),
    "heads beside groups": ({"plan": "mamba2:3x8", "groups": 2}, "mamba2 has 3 heads; expected a multiple of groups 2"),
    "odd heads with RoPE": ({"plan": "full:2x7"}, "full has heads of 7 channels; expected an even number"),
    "no repeats": ({"plan": "0*swa"}, r"repeats as in 3\*swa"),
    "repeats of words": ({"plan": "many*swa"}, r"repeats as in 3\*swa"),
    "no hidden width": ({"hidden": 0}, "hidden is 0; expected at least 1"),
    "heads in no groups of Mamba-2": ({"groups": 3, "width": 24, "num_heads": 4}, "and of groups 3"),
    "an infinite inner rate": ({"bind_rate": float("inf")}, "bind_rate is inf"),
    "hsa without a memory": ({"plan": "swa hsa"}, "needs one `memory` below its first hsa layer"),
    "hsa below the memory": ({"plan": "hsa memory hsa"}, "needs one `memory` below"),
    "two memories": ({"plan": "memory hsa memory hsa"}, "needs one `memory` below"),
    "a memory that nobody reads": ({"plan": "swa memory swa"}, "none without hsa"),
    "heads that do not divide the width": ({"width": 30, "num_heads": 4}, "width 30 must be a multiple of num_heads 4"),
    "an odd head": ({"width": 6, "num_heads": 2}, "even quotient"),
    "heads in no groups": ({"num_heads": 4, "num_kv_heads": 3, "width": 24}, "multiple of num_kv_heads 3"),
    "no window": ({"window": 0}, "expected at least 1"),
    "no chunk": ({"chunk": 0}, "expected at least 1"),
    "no top-k": ({"top_k": 0}, "expected at least 1"),
    "no vocabulary": ({"vocab": 0}, "expected at least 1"),
    "no heads": ({"num_heads": 0}, "num_heads"),
    "no kv heads": ({"num_kv_heads": 0}, "num_kv_heads"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_model_that_cannot_be_built_is_refused_with_the_reason(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**changes)


@pytest.mark.parametrize(
    "changes", [{"fusion": "sum"}, {"landmark": "last"}, {"retrieval_init": "zero"}, {"window": 8.0}], ids=str
)
def test_an_option_that_does_not_exist_is_refused_by_name(changes, refused):
    (name,) = changes
    with refused(TypeError, rf"ModelConfig\.{name} is"):
        ModelConfig(**changes)
