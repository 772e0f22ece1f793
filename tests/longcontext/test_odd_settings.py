"""What an arm cannot carry out to its end is refused when its configuration is made, and no measure counts nothing."""

import math

import pytest
import torch
from torch import Generator

from lablib.data.questions import draw_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext import long_range as law
from lablib.longcontext.ablation import Circuits
from lablib.longcontext.adaptive import AdaptiveMix, AdaptiveWindow, LengthBandit
from lablib.longcontext.cost import measure_cost
from lablib.longcontext.curriculum import Rows
from lablib.longcontext.experiments.cost import CostConfig
from lablib.longcontext.experiments.finetuning import FinetuningConfig
from lablib.longcontext.experiments.harder import HarderConfig
from lablib.longcontext.experiments.long_range import ForecastConfig, LongRangeConfig
from lablib.longcontext.experiments.race import RaceConfig
from lablib.longcontext.experiments.reader import ReaderConfig
from lablib.longcontext.experiments.seesaw import SeesawConfig
from lablib.longcontext.experiments.tracking import CHAINS, TrackingConfig
from lablib.longcontext.monitor import SeesawMonitor, faded
from lablib.longcontext.seesaw import answer_questions, ask, exact_and_chunks
from lablib.longcontext.stages import Curriculum, Mix, Stage
from lablib.longcontext.train_and_evaluate import RecipeConfig
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.streaming import encode

DATA = RetrievalConfig(num_noise=4, num_keys=8, num_values=4)
MODEL = LanguageModel(ModelConfig(vocab=DATA.vocab, width=8), Generator().manual_seed(0)).eval()
PLAIN = LanguageModel(ModelConfig(vocab=DATA.vocab, width=8, plan="swa"), Generator().manual_seed(0)).eval()
ROWS, SEEDED = Rows(DATA), Generator().manual_seed(0)


def late(**stage) -> Curriculum:
    """A stage like any, and behind it one with these fields."""
    return Curriculum(stages=(Stage(start=0, stop=4), Stage(start=4, stop=8, shrinks=True, **stage)))


def recipe(**fields):
    return lambda: RecipeConfig(**fields)


SHORT = late(lengths=(32,))
CONFIGS = {
    "a later stage without a needle": (
        recipe(curriculum=SHORT, per_token=True),
        r"stages\[1\] has rows of 32 tokens: num_pairs is 0; expected at least 1",
    ),
    "a later stage with too many needles": (
        recipe(
            curriculum=late(lengths=(2048,)), per_token=True, data=RetrievalConfig(num_pairs=2, copy_probability=0.5)
        ),
        r"stages\[1\] has rows of 2048 tokens: .*64 pairs need more than the 16 distinct keys",
    ),
    "a later stage of rows of no needle for its copy": (
        recipe(curriculum=late(lengths=(64,), mix=Mix(copied=1.0)), per_token=True),
        r"stages\[1\] has rows of 64 tokens: num_pairs is 0",
    ),
    "odd rows with a copy": (
        recipe(curriculum=late(lengths=(45,), mix=Mix(copied=1.0)).replace(tokens=64 * 45)),
        r"stages\[1\].lengths has 45, but a row and its copy have an even number",
    ),
    "no questions": (recipe(questions=0), "questions is 0; expected at least 1"),
    "no haystacks": (recipe(haystacks=-1), "haystacks is -1; expected at least 1"),
    "no probes": (recipe(probe_every=0), "probe_every is 0"),
    "no questions of a probe": (recipe(probe_questions=0), "probe_questions is 0"),
    "no length": (recipe(lengths=()), "expected at least one each"),
    "no length of a probe": (recipe(probe_lengths=()), "expected at least one each"),
    "no chunk asked with": (recipe(ask_top_k=(4, 0)), r"ask_top_k is \(4, 0\); expected each at least 1"),
    "windows that fall": (recipe(windows=(16, 8)), r"windows is \[16, 8\]; expected rising widths"),
    "a retrieval loss below none": (recipe(retrieval_loss=-0.5), "the share of the retrieval loss is -0.5"),
    "no needle in the questions": (recipe(needles=0), "0 needles of 1 slots, 1 of them asked for, do not fit"),
    "more needles than the shortest input holds": (recipe(needles=15), "15 needles .* do not fit the 14 slots of 64"),
    "text that nobody hands on": (
        recipe(data=RetrievalConfig(haystack="text"), model=ModelConfig(vocab=RetrievalConfig(haystack="text").vocab)),
        "data.haystack is 'text', which no curriculum reads",
    ),
    "a plan that is not streamed": (
        recipe(model=ModelConfig(vocab=50, plan="mamba2")),
        "plan 'mamba2' has a recurrence",
    ),
    "a curriculum without a logged step": (lambda: Curriculum(log_every=0), "log_every is 0; expected at least 1"),
    "a base that cannot be drawn": (
        lambda: FinetuningConfig(base=late(lengths=(8,))),
        r"base: stages\[1\] has rows of 8 tokens",
    ),
    "a fine-tuning that is steered": (lambda: FinetuningConfig(steering="mix"), "steering is 'mix'; expected none"),
    "a seesaw without questions": (lambda: SeesawConfig(questions=0), "questions is 0; expected at least 1"),
    "a seesaw without haystacks": (lambda: SeesawConfig(haystacks=0), "haystacks is 0"),
    "a race asked nowhere": (lambda: RaceConfig(lengths=()), "lengths is empty; expected at least one"),
    "a race asked never": (lambda: RaceConfig(every=0), "every is 0; expected at least 1"),
    "a race cut to nothing": (lambda: RaceConfig(more_window=0), "more_window is 0; expected at least 1"),
    "harder at no length": (lambda: HarderConfig(lengths=()), "lengths is empty"),
    "distractors in every token": (lambda: HarderConfig(tokens_per_distractor=0), "tokens_per_distractor is 0"),
    "more distractors than slots": (lambda: HarderConfig(tokens_per_distractor=3), "beside 21 distractors"),
    "chains that are none": (
        lambda: TrackingConfig(data=RetrievalConfig()),
        "data is needle with hops=2; expected",
    ),
    "needles beside chains that have no room": (
        lambda: TrackingConfig(data=CHAINS.replace(length=32, max_distance=28), lengths=(64,)),
        "12 needles and queries do not fit the 7 slots of a row of 32 tokens",
    ),
    "slots that reach no border": (
        lambda: ReaderConfig(data=ReaderConfig().data.replace(offsets=2)),
        "data.offsets is 2; expected more than 2",
    ),
    "a forecast of no question": (lambda: ForecastConfig(sampled_questions=0), "sampled_questions is 0"),
    "a forecast of no haystack": (lambda: ForecastConfig(sampled_haystacks=0), "sampled_haystacks is 0"),
    "a forecast of a short haystack": (lambda: ForecastConfig(sampled_length=20), r"\(10 strata\)"),
    "a long range of no question": (lambda: LongRangeConfig(questions=0), "questions is 0; expected at least 1"),
    "a long range of no depth": (lambda: LongRangeConfig(strata=0), "strata is 0; expected at least 1"),
    "more depths than slots": (lambda: LongRangeConfig(length=64, strata=20), r"\(20 strata\)"),
    "a cost at no length": (lambda: CostConfig(length=0), "length is 0; expected at least 1"),
    "a cost of no window": (lambda: CostConfig(window=0), "window is 0; expected at least 1"),
    "a question without room": (lambda: CostConfig(work="whole model, one question", length=4), "do not fit"),
}


@pytest.mark.parametrize(("build", "said"), CONFIGS.values(), ids=CONFIGS.keys())
def test_an_arm_that_could_not_end_is_refused_before_it_begins(build, said):
    with pytest.raises(ValueError, match=said):
        build()


SAMPLE = law.ScoreSample(torch.zeros(2), torch.zeros(2, 2))


def answered_on(strata: int):
    answers = law.Answers(*(torch.ones(4, 2, dtype=torch.bool) for _ in range(3)))
    return lambda: law.by_depth(answers, strata)


def on_another_haystack(model: LanguageModel = MODEL) -> None:
    one, other = (draw_questions(DATA, 100, 4, Generator().manual_seed(seed)) for seed in (0, 1))
    law.answer_all(model, encode(model, one.haystack), other)


CALLS = {
    "no question": (lambda: answer_questions(MODEL, DATA, 100, 0, SEEDED), "number is 0; expected at least 1"),
    "no haystack": (lambda: ask(MODEL, DATA, 100, 0, 4, SEEDED), "haystacks is 0; expected at least 1"),
    "no part of the depth": (answered_on(0), "strata is 0; expected at least 1"),
    "more parts than questions": (answered_on(5), "4 questions came for strata=5; expected at least one in each"),
    "questions on another haystack": (on_another_haystack, "are not the 98 that the stream was read from"),
    "chunks of a model that reads none": (
        lambda: law.answer_all(
            PLAIN, encode(PLAIN, torch.zeros(1, 9, dtype=torch.long)), draw_questions(DATA, 11, 1, SEEDED)
        ),
        "plan 'swa' reads no chunks",
    ),
    "scores of a model without them": (lambda: law.sample_scores(PLAIN, DATA, 100, 1, 4, SEEDED), "reads no chunks"),
    "scores of no haystack": (lambda: law.sample_scores(MODEL, DATA, 100, 0, 4, SEEDED), "haystacks is 0"),
    "a tail of two scores": (lambda: law.pareto_tail(SAMPLE), "share is 0.05 of 2 noise scores; expected"),
    "a tail of everything": (lambda: law.pareto_tail(SAMPLE, 1.0), "share is 1.0"),
    "fewer chunks than none": (lambda: law.miss_rate(torch.ones(2), -1, 4), "chunks is -1; expected at least 0"),
    "no chunk to be among": (lambda: law.miss_rate(torch.ones(2), 9, 0), "top_k is 0; expected at least 1"),
    "recalls of no question": (lambda: faded([0.5, 0.4, 0.3], 0), "questions is 0; expected at least 1"),
    "a monitor of no length": (lambda: SeesawMonitor(ROWS, (), 2, 0), "lengths is empty; expected at least one"),
    "a monitor that looks never": (lambda: SeesawMonitor(ROWS, (64,), 0, 0), "every is 0; expected at least 1"),
    "a mix that looks never": (lambda: AdaptiveMix(ROWS, 0, 0), "every is 0"),
    "windows that look at nothing": (lambda: AdaptiveWindow(ROWS, [4], 2, 0, batch=0), "batch is 0"),
    "a bandit that looks never": (lambda: LengthBandit(ROWS, -1, 0), "every is -1"),
    "a bandit of no rate": (lambda: LengthBandit(ROWS, 2, 0, rate=math.inf), "rate=inf"),
    "circuits asked never": (lambda: Circuits(DATA, 128, 0, 0), "every is 0; expected at least 1"),
    "circuits asked nothing": (lambda: Circuits(DATA, 128, 2, 0, questions=0), "questions is 0"),
    "the cost of no token": (lambda: measure_cost("full attention", 0, 8, 0), "length is 0; expected at least 1"),
    "a batch below a row": (lambda: ROWS(63, SEEDED), "batch is 0; expected at least 1"),
}


@pytest.mark.parametrize(("call", "said"), CALLS.values(), ids=CALLS.keys())
def test_what_measures_nothing_is_refused(call, said, refused):
    with refused(ValueError, said):
        call()


def test_a_model_without_hsa_finds_no_chunk_and_still_answers():
    found = exact_and_chunks(ask(PLAIN, DATA, 100, 2, 4, SEEDED))
    assert 0 <= found["exact"] <= 1
    assert math.isnan(found["chunk_recall"])


def test_no_noise_chunk_is_never_missed_for_and_all_are():
    assert law.miss_rate(torch.rand(4), 0, 1) == pytest.approx(0, abs=1e-12)
    assert law.miss_rate(torch.ones(4), 1 << 20, 4) == pytest.approx(1)
