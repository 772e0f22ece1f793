"""Many questions at once answer as one at a time; the law of the misses is that of extreme values; arms ask readers."""

import math

import pytest
import torch
from torch import Generator

from lablib.core.store import Record
from lablib.data.questions import draw_questions
from lablib.longcontext import long_range as method
from lablib.longcontext.experiments import long_range as experiment
from lablib.longcontext.experiments import reader as readers
from lablib.longcontext.experiments.long_range import (
    LENGTHS,
    LongRangeConfig,
    forecast,
    forecast_arms,
    long_range,
    long_range_arms,
)
from lablib.longcontext.experiments.reader import DATA, ReaderConfig, reader, reader_arms, reader_of
from lablib.longcontext.long_range import (
    Answers,
    ScoreSample,
    answer_all,
    by_depth,
    gaussian_tail,
    miss_rate,
    pareto_tail,
    sample_scores,
)
from lablib.longcontext.seesaw import watch_retrieval
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.streaming import edited, encode, read

# ---- answers


@pytest.fixture(scope="module")
def model():
    return LanguageModel(ModelConfig(vocab=DATA.vocab, top_k=3), Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("length", [66, 303])
@pytest.mark.parametrize("task", [{}, {"num_needles": 6, "asked": 2}, {"distractors": 5}], ids=str)
def test_all_questions_at_once_are_answered_as_one_after_the_other(length, task, model, generator, monkeypatch):
    monkeypatch.setattr(method, "BATCH", 7)
    questions = draw_questions(DATA, length, 20, generator, strata=10, **task)
    stream = encode(model, questions.haystack)
    together = answer_all(model, stream, questions)
    plain = model(torch.cat([questions.planted(i) for i in range(20)]))[:, -questions.tails.shape[1] :]
    for i, whole in enumerate(plain):
        planting = edited(model, stream, questions.haystack, questions.starts[i], questions.plants[i])
        with planting as now, watch_retrieval(model) as seen:
            logits = read(model, now, questions.tails[i : i + 1])[0]
        for asked, at in enumerate(questions.answer_at.tolist()):
            answer, needle = questions.answers[i, asked], int(questions.evidence[i, asked]) // 8
            assert (
                bool(together.hit[i, asked])
                == bool(logits[at].argmax() == answer)
                == bool(whole[at].argmax() == answer)
            )
            chosen = seen[-1].chunks[0, 0, at][seen[-1].scores[0, 0, at] > -math.inf]
            assert bool(together.found[i, asked]) == (needle in chosen.tolist())
            assert bool(together.visible[i, asked]) == ((needle + 1) * 8 <= questions.haystack.shape[1] + at)
    assert together.hit.shape == (20, questions.answers.shape[1])


def test_rows_by_depth_count_every_question_once(generator):
    hit, found, visible = (torch.rand(40, 2, generator=generator) < 0.7 for _ in range(3))
    rows = by_depth(Answers(hit, found, visible), 10)
    assert [row["depth"] for row in rows] == pytest.approx([0.05 + 0.1 * i for i in range(10)])
    assert [row["asked"] for row in rows] == [4] * 10
    assert sum(row["visible"] for row in rows) == int(visible.sum())
    assert sum(row["missed"] for row in rows) == int((visible & ~found).sum())
    assert rows[3]["exact"] == pytest.approx(float((hit[12:16, 0] & hit[12:16, 1]).float().mean()))
    shown = by_depth(Answers(hit, found, torch.zeros_like(visible)), 10)
    assert all(math.isnan(row["chunk_recall"]) for row in shown)


# ---- the law

TAILS = {
    "exponential": (lambda u: -torch.log(u), lambda p: -math.log(p)),
    "uniform, bounded": (lambda u: 1 - u, lambda p: 1 - p),
    "heavy": (lambda u: u**-0.25, lambda p: p**-0.25),
    "normal": (lambda u: math.sqrt(2) * torch.erfinv(1 - 2 * u), lambda p: -_normal_quantile(p)),
}


def _normal_quantile(p: float) -> float:
    return float(math.sqrt(2) * torch.erfinv(torch.tensor(2 * p - 1, dtype=torch.double)))


@pytest.mark.parametrize(("draw", "quantile"), TAILS.values(), ids=TAILS.keys())
@pytest.mark.parametrize("beyond", [0.2, 1e-2, 1e-3, 1e-4])
def test_the_pareto_tail_goes_beyond_the_sample(draw, quantile, beyond, generator):
    """8192 scores a question know little of one in 10 000; the fitted tail is right to a factor."""
    uniform = torch.rand(100, 8192, generator=generator, dtype=torch.double)
    sample = ScoreSample(torch.full((100,), quantile(beyond)).float(), draw(uniform).float())
    found = float(pareto_tail(sample).mean())
    if beyond >= 1e-3:
        assert found == pytest.approx(beyond, rel=0.1 if beyond >= 1e-2 else 0.3)
    else:
        assert 0.2 * beyond < found < 6 * beyond


def test_beyond_the_end_of_bounded_scores_nothing_is_expected(generator):
    sample = ScoreSample(torch.full((50,), 1.2), torch.rand(50, 8192, generator=generator))
    assert float(pareto_tail(sample).max()) < 1e-9
    assert float(gaussian_tail(sample).min()) > 1e-3, "which a normal tail does not know"


@pytest.mark.parametrize("beyond", [0.3, 1e-3, 1e-7])
def test_the_normal_tail_is_that_of_normal_scores(beyond, generator):
    noise = 3 + 2 * torch.randn(20, 200_000, generator=generator)
    sample = ScoreSample(torch.full((20,), 3 - 2 * _normal_quantile(beyond)), noise)
    assert float(gaussian_tail(sample).mean()) == pytest.approx(beyond, rel=0.1)


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("mean", [1e-3, 0.5, 3.0, 20.0])
def test_the_miss_rate_is_that_of_at_least_k_rivals(top_k, mean):
    fewer = sum(math.exp(-mean) * mean**i / math.factorial(i) for i in range(top_k))
    found = miss_rate(torch.full((3,), mean / 1000), 1000, top_k)
    assert found == pytest.approx(1 - fewer, rel=1e-6, abs=1e-14)
    drawn = (torch.rand(20_000, 1000, generator=Generator().manual_seed(0)) < mean / 1000).sum(dim=1) >= top_k
    assert float(drawn.float().mean()) == pytest.approx(found, abs=0.012)


def test_misses_are_the_mean_over_needles_and_grow_with_the_length():
    tail = torch.tensor([0.0, 1.0])
    assert miss_rate(tail, 10_000, 4) == pytest.approx(0.5)
    rates = [miss_rate(torch.tensor([1e-5, 1e-3]), chunks, 4) for chunks in (8, 512, 8192, 2**21)]
    assert rates == sorted(rates)
    assert rates[0] < 1e-6
    assert rates[-1] > 0.99


def test_the_sampled_scores_are_those_that_retrieval_compares(model, generator):
    seed = generator.initial_seed()
    sample = sample_scores(model, DATA, 512, 1, 10, Generator().manual_seed(seed))
    questions = draw_questions(DATA, 512, 10, Generator().manual_seed(seed), strata=10)
    stream = encode(model, questions.haystack)
    seen_all = []
    model.set_reading(model.window, 100)
    try:
        for i in range(10):
            planting = edited(model, stream, questions.haystack, questions.starts[i], questions.plants[i])
            with planting as now, watch_retrieval(model) as seen:
                read(model, now, questions.tails[i : i + 1], keep=1)
            seen_all.append(seen[-1].scores[0, 0, -1])
    finally:
        model.set_reading(model.window, 3)
    needles = questions.evidence[:, 0] // 8
    expected = [row[c] for row, c in zip(seen_all, needles.tolist(), strict=True) if c < len(row)]
    torch.testing.assert_close(sample.needle, torch.stack(expected), atol=1e-4, rtol=0)
    far_from = [c for c in range(63) if abs(c - int(needles[0])) > 2]
    torch.testing.assert_close(sample.noise[0, far_from], seen_all[0][far_from], atol=1e-4, rtol=0)
    assert sample.noise.shape == (len(expected), 63)


# ---- arms


def test_every_arm_asks_a_reader_that_is_trained_and_whose_misses_are_forecast():
    for scale in ("smoke", "lab", "full"):
        trained = set(reader_arms(scale))
        foretold = {(reader_of(cfg), cfg.haystack) for cfg in forecast_arms(scale)}
        assert {cfg for cfg, _ in foretold} == trained
        assert {(reader_of(cfg), cfg.haystack) for cfg in long_range_arms(scale)} <= foretold


def test_lengths_may_be_asked_for_up_to_any(monkeypatch):
    monkeypatch.setattr(experiment, "check_room", lambda *known: None)
    found = long_range_arms("lab", longest=1 << 24)
    assert [cfg.length for cfg in found][::2] == [n for n in LENGTHS if n <= 1 << 24]
    assert {cfg.haystack for cfg in found} == {"synthetic", "text"}
    assert not any(cfg.mapped for cfg in found)
    assert [cfg.length for cfg in long_range_arms("lab", longest=100_000)][-2:] == [100_000, 100_000]
    assert [cfg.length for cfg in long_range_arms("lab", longest=64)] == [64, 64]
    assert [cfg.mapped for cfg in long_range_arms("lab", longest=(1 << 24) + 1)[-4:]] == [False, False, True, True]


def test_a_length_that_makes_no_sense_or_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match="length=63 is below the training length of 64 tokens"):
        long_range_arms("lab", longest=63)
    with pytest.raises(ValueError, match=r"length=1099511627776 needs .* GiB of memory, but .* are free"):
        long_range_arms("lab", longest=1 << 40)
    with pytest.raises(ValueError, match="questions=25 cannot be spread evenly over strata=10"):
        LongRangeConfig(questions=25)


def test_an_arm_beyond_the_room_is_refused_before_a_reader_is_trained(own_store, monkeypatch):
    monkeypatch.setattr("lablib.nn.storage.available_memory", lambda: 1 << 20)
    with pytest.raises(ValueError, match="length=256 needs"):
        long_range.function(LongRangeConfig.at("smoke"))
    assert not own_store.exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"text_share": 1.0}, "text_share is 1.0"),
        ({"more_length": 32}, "more_length is 32, expected more than the 64 tokens"),
        ({"straddled": 1.5}, "straddled is 1.5"),
        ({"model": ModelConfig(vocab=99)}, r"model.vocab is 99, but the haystacks have \[290\] token ids"),
    ],
    ids=str,
)
def test_a_reader_that_cannot_be_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        ReaderConfig(**changes)


# ---- runs, at smoke scale


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke tables of a text arm, by name, each computed in a store of its own."""
    cfg = LongRangeConfig.at("smoke", haystack="text", length=1000)
    tables = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(tmp_path_factory.mktemp("trained")))
        tables["reader"] = reader.function(reader_of(cfg))
        tables["far"], tables["again"] = long_range.function(cfg), long_range.function(cfg)
        tables["mapped"] = long_range.function(cfg.replace(mapped=True))
        tables["far, foretold"] = long_range.function(cfg.replace(length=1024))
        tables["forecast"] = forecast.function(next(one for one in forecast_arms("smoke") if one.haystack == "text"))
        weights = method_path(tables["reader"])
        committed = tmp_path_factory.mktemp("results")
        target = committed / "checkpoints" / f"{reader.digest(reader_of(cfg))}.safetensors"
        target.parent.mkdir()
        target.write_bytes(weights.read_bytes())
        patch.setenv("LAB_HOME", str(tmp_path_factory.mktemp("from the record")))
        patch.setattr(readers, "Record", lambda: Record(committed))
        tables["recorded"] = long_range.function(cfg)
        tables["trained nothing"] = not (readers.lab_home() / "models").exists()
    tables["size"] = weights.stat().st_size
    return tables


def method_path(table):
    return readers.lab_home() / table.attrs["checkpoint"]


def measured(table):
    return table[[name for name in table if not name.endswith(("_seconds", "_megabytes"))]]


@pytest.mark.parametrize("other", ["again", "mapped", "recorded"])
def test_the_table_is_the_same_bit_for_bit(smoke, other):
    assert measured(smoke["far"]).equals(measured(smoke[other]))
    assert smoke["trained nothing"]


def test_the_forecast_in_the_table_is_the_one_that_was_made_before(smoke):
    expected = smoke["forecast"].set_index("length")
    assert set(expected.index) == set(LENGTHS)
    table = smoke["far, foretold"]
    for law in ("pareto_miss", "gaussian_miss"):
        assert table[law].unique().tolist() == [expected.loc[1024, law]]


def test_a_checkpoint_is_small_enough_to_be_committed(smoke):
    assert smoke["size"] < 250_000
    assert smoke["reader"].attrs["keep_checkpoint"]


def test_the_questions_are_those_that_were_asked_for(smoke):
    table = smoke["far"]
    asked = table.groupby("task")["asked"].sum()
    assert set(asked.index) == set(experiment.TASKS)
    assert (asked == 10).all()
    assert (table["repeats_after"] > 16_777_216).all()
    assert (table["store_bytes"] == 124 * 4 * (32 + 2 * 8 * 16)).all()


def test_the_shorter_training_is_the_beginning_of_the_longer_one(monkeypatch, tmp_path):
    cfg = ReaderConfig.at("smoke")
    _, both, _ = readers.train_reader(cfg)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "another"))
    _, first, _ = readers.train_reader(cfg.replace(more=None))
    assert both[both["part"] == 1].drop(columns="part").equals(first.drop(columns="part"))
    assert list(both["step"]) == [2, 4, 6]


def test_rows_come_from_both_haystacks_and_straddle_as_often_as_is_said():
    cfg = ReaderConfig()
    rows = readers.rows_of(cfg, 64, "train")(4000, Generator().manual_seed(0))
    marks = (rows.tokens == cfg.data.mark).float()
    assert (marks.sum(dim=1) == 6).all()
    straddles = (marks.argmax(dim=1) % 4 == 2).float().mean()
    assert float(straddles) == pytest.approx(cfg.straddled + (1 - cfg.straddled) / 4, abs=0.03)
    noise = rows.tokens < 256
    bytes_of_text = ((rows.tokens < 128) & noise).sum(dim=1) / noise.sum(dim=1) > 0.8  # half of the drawn ids are
    assert float(bytes_of_text.float().mean()) == pytest.approx(cfg.text_share, abs=0.04)
