"""Laws of embeddings that may be cut: losses by prefix, PCA, shortlists and funnels, and what is refused."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from lablib.core.measure import count_flops
from lablib.data.vectors import Classes, ClassesConfig, ViewsConfig
from lablib.elastic.matryoshka import (
    PrefixConfig,
    PrefixHeads,
    by_prefix,
    encoder,
    funnel,
    info_nce,
    pair_losses,
    prefix,
    principal,
    scan_flops,
)
from lablib.train.loop import TrainConfig, fit
from lablib.train.optim import OptimConfig

NESTED = PrefixConfig(width=8, dims=(2, 4, 8))


def embeddings(generator, rows=20, width=8):
    return torch.randn(rows, width, generator=generator)


def class_loss(cfg, heads, z, labels):
    return by_prefix(cfg, [F.cross_entropy(logits, labels) for logits in heads(z)])


# ---- losses


def test_the_loss_is_the_sum_of_the_losses_of_models_of_each_prefix(generator):
    heads, z = PrefixHeads(NESTED, 5, generator), embeddings(generator)
    labels = torch.randint(5, (20,), generator=generator)
    parts = [
        F.cross_entropy(F.linear(z[:, :m], head), labels) for m, head in zip((2, 4, 8), heads.weights, strict=True)
    ]
    torch.testing.assert_close(class_loss(NESTED, heads, z, labels), sum(parts))


def test_the_whole_alone_is_the_ordinary_loss_bit_for_bit(generator):
    cfg = PrefixConfig(width=8, dims=(8,))
    heads, z, other = PrefixHeads(cfg, 5, generator), embeddings(generator), embeddings(generator)
    labels = torch.randint(5, (20,), generator=generator)
    assert torch.equal(class_loss(cfg, heads, z, labels), F.cross_entropy(z @ heads.weights[0].mT, labels))
    plain = info_nce(F.normalize(z, dim=1), F.normalize(other, dim=1), 0.1)
    assert torch.equal(by_prefix(cfg, pair_losses(z, other, cfg.dims, 0.1)), plain)


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_the_loss_of_a_prefix_does_not_move_the_numbers_behind_it(generator, kind):
    z, other = embeddings(generator).requires_grad_(), embeddings(generator)
    heads, labels = PrefixHeads(NESTED, 5, generator), torch.randint(5, (20,), generator=generator)
    for i, m in enumerate(NESTED.dims):
        losses = {"classes": F.cross_entropy(heads(z)[i], labels), "pairs": pair_losses(z, other, NESTED.dims, 0.1)[i]}
        (moved,) = torch.autograd.grad(losses[kind], z)
        assert (moved[:, m:] == 0).all()
        assert (moved[:, :m] != 0).all()


def test_weights_scale_losses_and_gradients(generator):
    z, other = embeddings(generator).requires_grad_(), embeddings(generator)
    parts = pair_losses(z, other, NESTED.dims, 0.1)
    each = [torch.autograd.grad(part, z, retain_graph=True)[0] for part in parts]
    cfg, factors = NESTED.replace(weights=(3.0, 0.0, 0.5)), (3.0, 0.0, 0.5)
    loss = by_prefix(cfg, parts)
    torch.testing.assert_close(loss, sum(c * part for c, part in zip(factors, parts, strict=True)))
    (moved,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(moved, sum(c * part for c, part in zip(factors, each, strict=True)))


def test_tied_heads_are_heads_that_hold_the_columns_of_one(generator):
    tied = PrefixHeads(NESTED.replace(tied=True), 5, generator)
    free, z = PrefixHeads(NESTED, 5, generator), embeddings(generator)
    with torch.no_grad():
        for m, head in zip(NESTED.dims, free.weights, strict=True):
            head.copy_(tied.weights[0][:, :m])
    labels = torch.randint(5, (20,), generator=generator)
    one, other = (class_loss(NESTED, heads, z, labels) for heads in (tied, free))
    assert torch.equal(one, other)
    one.backward()
    other.backward()
    whole = torch.zeros_like(tied.weights[0])
    for m, head in zip(NESTED.dims, free.weights, strict=True):
        whole[:, :m] += head.grad
    torch.testing.assert_close(tied.weights[0].grad, whole)
    assert sum(p.numel() for p in tied.parameters()) == 5 * 8
    assert sum(p.numel() for p in free.parameters()) == 5 * (2 + 4 + 8)


def test_a_head_that_was_not_trained_is_the_first_columns_of_the_whole(generator):
    heads = PrefixHeads(NESTED, 5, generator)
    assert torch.equal(heads.head(4), heads.weights[1])
    assert torch.equal(heads.head(3), heads.weights[-1][:, :3])


def test_info_nce_by_hand():
    queries, documents = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    first = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.0)))
    second = -math.log(math.exp(1.0 / 0.5) / (math.exp(0.8 / 0.5) + math.exp(1.0 / 0.5)))
    assert float(info_nce(queries, documents, 0.5)) == pytest.approx((first + second) / 2)


def test_a_prefix_is_cut_and_then_of_length_one_and_the_other_order_is_another(generator):
    z = embeddings(generator)
    torch.testing.assert_close(prefix(z, 3).norm(dim=1), torch.ones(20))
    wrong = F.normalize(z, dim=1)[:, :3]
    assert (wrong.norm(dim=1) < 0.99).all()
    torch.testing.assert_close(F.normalize(wrong, dim=1), prefix(z, 3))  # normalised again, it is right


def test_training_lowers_the_loss_and_is_the_same_each_time(generator):
    task = Classes(ClassesConfig(groups=2, members=2, noise=0.2), generator)
    cfg = TrainConfig(steps=40, batch=32, optim=OptimConfig(lr=1e-2))
    embed, heads = encoder(96, 16, 8, generator), PrefixHeads(NESTED, 4, generator)
    model = torch.nn.ModuleList([embed, heads])
    again, seed = copy.deepcopy(model), generator.get_state()
    x, labels = task(64, torch.Generator().manual_seed(5))
    objective = lambda parts, batch: (class_loss(NESTED, parts[1], parts[0](batch[0]), batch[1]), batch[0])  # noqa: E731
    loss = lambda parts: objective(parts, (x, labels))[0].item()  # noqa: E731
    before = loss(model)
    for parts in (model, again):
        rows = torch.Generator()
        rows.set_state(seed)
        fit(parts, task, cfg, rows, objective=objective)
    assert loss(model) < 0.3 * before
    assert loss(model) == loss(again)


# ---- search


def test_pca_is_the_singular_vectors_and_no_rotation_holds_more(generator):
    z = embeddings(generator, 50) * torch.linspace(0.2, 2, 8)
    turn = principal(z)
    _, values, rows = torch.linalg.svd(z, full_matrices=False)
    torch.testing.assert_close((turn * rows.mT).sum(0).abs(), torch.ones(8))
    torch.testing.assert_close((z @ turn).norm(dim=0), values)
    torch.testing.assert_close(turn.mT @ turn, torch.eye(8), atol=1e-6, rtol=0)
    other, _ = torch.linalg.qr(embeddings(generator, 8))
    for m in range(1, 8):
        assert (z @ turn)[:, :m].norm() > (z @ other)[:, :m].norm()


def test_after_pca_all_numbers_have_the_cosines_that_they_had(generator):
    z = embeddings(generator)
    turned = z @ principal(F.normalize(z, dim=1))
    torch.testing.assert_close(prefix(turned, 8) @ prefix(turned, 8).mT, prefix(z, 8) @ prefix(z, 8).mT)


def test_one_stage_is_the_plain_scan_and_a_shortlist_of_all_is_the_whole_scan(generator):
    queries, documents = embeddings(generator, 7), embeddings(generator, 30)
    scan = lambda m: F.cosine_similarity(queries[:, None, :m], documents[None, :, :m], dim=-1)  # noqa: E731
    assert torch.equal(funnel(queries, documents, [(3, 5)]), scan(3).topk(5).indices)
    whole = funnel(queries, documents, [(8, 5)])
    assert torch.equal(funnel(queries, documents, [(2, 30), (8, 5)]), whole)
    assert torch.equal(funnel(queries, documents, [(2, 30), (4, 30), (8, 5)]), whole)


def test_a_shortlist_is_ranked_again_among_what_it_kept(generator):
    queries, documents = embeddings(generator, 7), embeddings(generator, 30)
    kept = funnel(queries, documents, [(2, 6)])
    found = funnel(queries, documents, [(2, 6), (8, 3)])
    for query, ids, best in zip(queries, kept, found, strict=True):
        scores = F.cosine_similarity(query, documents[ids], dim=-1)
        assert best.tolist() == ids[scores.argsort(descending=True)][:3].tolist()


@pytest.mark.parametrize("stages", [[(8, 3)], [(2, 9), (8, 1)], [(2, 20), (4, 5), (8, 1)]])
def test_the_flops_of_a_search_are_those_that_are_counted(generator, stages):
    queries, documents = embeddings(generator, 7), embeddings(generator, 30)
    assert count_flops(lambda: funnel(queries, documents, stages)) == 7 * scan_flops(30, stages)


# ---- what is refused


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dims": (0, 64)}, r"dims holds \[0\]; expected prefixes of 1 to width=64 numbers, or a larger width"),
        ({"dims": (8, 64, 128)}, r"dims holds \[128\]"),
        ({"dims": (8, 16)}, r"dims is \(8, 16\) without width=64: the whole would not be trained; add 64"),
        ({"dims": ()}, r"dims is \(\) without width=64"),
        ({"dims": (16, 8, 64)}, r"dims is \(16, 8, 64\); expected growing prefixes, each once"),
        ({"dims": (8, 8, 64)}, "growing prefixes, each once"),
        ({"dims": (8, 64), "weights": (1.0,)}, r"weights is \(1.0,\) for dims=\(8, 64\); expected one >= 0 each"),
        ({"dims": (8, 64), "weights": (1.0, -1.0)}, "expected one >= 0 each"),
        ({"dims": (8, 64), "weights": (0.0, 0.0)}, "not all 0"),
        ({"dims": (8, 64), "weights": (1.0, math.nan)}, "expected one >= 0 each"),
    ],
)
def test_prefixes_that_cannot_be_meant_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        PrefixConfig(**fields)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "stages is empty"),
        ([(0, 3)], r"stage \(0, 3\): expected 1 to 8 numbers, and 1 to 30 documents to keep"),
        ([(9, 3)], "expected 1 to 8 numbers"),
        ([(8, 31)], "1 to 30 documents to keep"),
        ([(2, 5), (8, 6)], r"stage \(8, 6\): expected 1 to 8 numbers, and 1 to 5 documents"),
    ],
)
def test_stages_that_are_impossible_are_refused(generator, stages, words):
    with pytest.raises(ValueError, match=words):
        funnel(embeddings(generator, 7), embeddings(generator, 30), stages)


@pytest.mark.parametrize("kind", [ClassesConfig, ViewsConfig])
def test_tasks_that_cannot_be_are_refused(kind):
    with pytest.raises(ValueError, match="hidden is 0; expected at least 1"):
        kind(hidden=0)
    with pytest.raises(ValueError, match="noise is -1"):
        kind(noise=-1.0)
