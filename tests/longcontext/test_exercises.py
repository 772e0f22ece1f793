"""Each check passes its solution, knows an untouched stub, and catches the usual mistakes with a hint that fits."""

import math
import re

import pytest
import torch

from lablib.core.exercise import Mistake
from lablib.longcontext import exercises

alarm, miss = exercises.alarm, exercises.miss
MISTAKES = {
    "check_pairs": {
        "first rows": lambda length, window: length * window,
        "shorter than the window": lambda length, window: length * window - window * (window - 1) // 2,
        "draw the matrix": lambda length, window: length * (length + 1) // 2,
    },
    "check_longest_input": {
        "grows linearly": lambda length, seconds, exponent, budget: length * budget / seconds,
        "and not its length": lambda length, seconds, exponent, budget: length * (budget / seconds) ** exponent,
        "you say": lambda length, seconds, exponent, budget: length,
    },
    "check_visible": {
        "its own": lambda position, chunk, size: chunk <= position // size,
        "lies in its future": lambda position, chunk, size: chunk != position // size,
        "lies in the past": lambda position, chunk, size: position > (chunk + 1) * size,
    },
    "check_joint_with_scores": {
        "one output": lambda logits, values, scores: torch.zeros(2),
        "no gradient": lambda logits, values, scores: logits.flatten().softmax(0) @ values.flatten(0, 1),
        "That is HSA": lambda logits, values, scores: torch.einsum(
            "c,cs,csd->d", scores.softmax(0), logits.softmax(1), values
        ),
        "do not sum to 1": lambda logits, values, scores: torch.einsum(
            "c,cs,csd->d", scores.softmax(0), logits.flatten().softmax(0).view_as(logits), values
        ),
        "Add each chunk's score": lambda logits, values, scores: exercises.joint_with_scores(logits, values, -scores),
    },
    "check_needed_score": {
        "Too high for 8,192": lambda chunks: {8: 1.2, 128: 2.4, 8192: 9.0}[chunks],
        "Not within 0.5 for 8 ": lambda chunks: 3.5,
        "Not within 0.5 for 8,192": lambda chunks: {8: 1.2, 128: 2.4, 8192: 2.5}[chunks],
    },
    "check_slope": {
        "Round it": lambda step, start, steps, before, after: before + (after - before) / 3,
        "has not begun": lambda step, start, steps, before, after: round(before + step * (after - before) / steps),
        "slope is over": lambda step, start, steps, before, after: round(
            before + max(step - start + 1, 0) * (after - before) / (steps + 1)
        ),
        "share of the way": lambda step, start, steps, before, after: before if step < start else after,
    },
    "check_alarm": {
        "False alarm.*one bad look": lambda recalls, drop: len(recalls) > 2 and recalls[-1] < max(recalls[:-1]) - drop,
        "False alarm.*a loss within the drop": lambda recalls, drop: alarm(recalls, 0.1),
        "No alarm.*this is a fade\\.": lambda recalls, drop: False,
        "No alarm.*a fade after a rise": lambda recalls, drop: alarm(recalls, drop) and recalls[0] == 1.0,
    },
    "check_miss": {
        "chance of finding": lambda tail, chunks, top_k: 1 - miss(tail, chunks, top_k),
        "higher score is not enough": lambda tail, chunks, top_k: 1 - math.exp(-tail * chunks),
        "How many higher": lambda tail, chunks, top_k: tail * chunks,
    },
}
CHECKS = [name for name in vars(exercises) if name.startswith("check_")]
CASES = [(name, hint, answer) for name, wrong in MISTAKES.items() for hint, answer in wrong.items()]


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capsys):
    check = getattr(exercises, name)
    check.strict(check.solution)
    check(check.solution)
    assert capsys.readouterr().out.endswith(": correct\n")


@pytest.mark.parametrize("name", CHECKS)
def test_an_untouched_stub_is_not_attempted_and_does_not_raise(name, capsys):
    check = getattr(exercises, name)
    with pytest.raises(NotImplementedError):
        check.strict(lambda *arguments: ...)
    check(lambda *arguments: ...)
    assert capsys.readouterr().out.endswith(": not attempted\n")


@pytest.mark.parametrize(("name", "hint", "answer"), CASES, ids=[f"{name}: {hint}" for name, hint, _ in CASES])
def test_a_wrong_answer_gets_the_hint_that_fits(name, hint, answer, capsys):
    check = getattr(exercises, name)
    with pytest.raises(Mistake, match=hint):
        check.strict(answer)
    check(answer)
    assert re.search(hint, capsys.readouterr().out)


def test_an_answer_that_raises_is_reported_not_raised(capsys):
    exercises.check_visible(lambda position, chunk, size: 1 / 0)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_the_mistakes_of_every_exercise_are_planted():
    assert set(CHECKS) == set(MISTAKES)
