"""The pipeline of distillation: labels, losses and the teacher are what the configuration says."""

import pytest
import torch

from lablib.efficiency.distillation import (
    DistillationConfig,
    Teaching,
    excess_of,
    labelled,
    trained_student,
    trained_teacher,
    written,
)
from lablib.nn.model import LanguageModel
from lablib.ops.divergences import TopK, forward_kl
from lablib.train.losses import cross_entropy, weighted_mean

SMALL = DistillationConfig.at("smoke")


class Knows(torch.nn.Module):
    """A model that has the language's own table."""

    def __init__(self, language):
        super().__init__()
        self.language, self.nothing = language, torch.nn.Parameter(torch.zeros(()))

    def forward(self, tokens):
        return self.language.log_probabilities(tokens) + self.nothing


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))


def test_a_model_that_knows_the_language_has_no_excess(generator):
    language = SMALL.spoken()
    found = excess_of(SMALL).read(Knows(language))
    assert found == pytest.approx({"excess": 0, "excess_choice": 0}, abs=1e-6)
    other = excess_of(SMALL).read(LanguageModel(SMALL.student, generator))
    assert min(other.values()) > 0.5


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_the_sum_of_its_shares(share, generator):
    cfg = SMALL.replace(labels="language", share=share)
    student = LanguageModel(cfg.student, generator)
    teaching = Teaching(cfg, student, None)
    given = teaching.draw(5, generator)
    loss, logits = teaching(student, given)
    hard = cross_entropy(logits, given.batch.targets, given.batch.weight)
    truth = cfg.spoken().log_probabilities(given.batch.tokens)
    soft = weighted_mean(forward_kl(truth, logits), given.batch.weight)
    torch.testing.assert_close(loss, share * soft + (1 - share) * hard)


def test_the_last_steps_are_on_hard_labels(generator):
    cfg = SMALL.replace(labels="language", hard_steps=1)
    student = LanguageModel(cfg.student, generator)
    teaching = Teaching(cfg, student, None)
    given = teaching.draw(5, generator)
    teaching.before_step(cfg.train.steps - 2, student)
    before = teaching(student, given)[0]
    teaching.before_step(cfg.train.steps - 1, student)
    last, logits = teaching(student, given)
    torch.testing.assert_close(last, cross_entropy(logits, given.batch.targets, given.batch.weight))
    assert not torch.allclose(before, last)


def test_soft_labels_stay_with_their_rows(generator):
    teacher = trained_teacher(SMALL)
    for cfg in (SMALL, SMALL.replace(top=3)):
        kept = labelled(cfg, cfg.spoken()(cfg.length, 6, generator), teacher)
        part = kept.rows(torch.tensor([4, 1, 4]))
        again = labelled(cfg, part.batch, teacher)
        for one, other in zip(part.soft, again.soft, strict=True):
            torch.testing.assert_close(one, other)
        assert isinstance(part.soft, TopK) == bool(cfg.top)


def test_the_teacher_reads_other_rows_than_the_student_and_is_trained_once():
    teacher = trained_teacher(SMALL)
    again = trained_teacher(SMALL)
    assert all(torch.equal(one, other) for one, other in zip(teacher.parameters(), again.parameters(), strict=True))
    assert not teacher.training
    kept = SMALL.spoken()(SMALL.length, 12, SMALL.stream("further rows"))
    student = Teaching(SMALL, teacher, teacher).kept.batch
    assert not torch.equal(kept.tokens[:5], student.tokens[:5])


def test_a_teacher_in_training_is_refused(generator):
    batch, teacher = SMALL.spoken()(8, 2, generator), LanguageModel(SMALL.teacher.model, generator)
    with pytest.raises(ValueError, match=r"the teacher is still training; call \.eval"):
        labelled(SMALL, batch, teacher)
    with pytest.raises(ValueError, match="the teacher is still training"):
        labelled(SMALL, batch, teacher.eval())  # its weights still have gradients


def test_on_its_own_text_the_student_writes_what_it_then_learns_from(generator):
    cfg = SMALL.replace(labels="own text")
    teacher, student = trained_teacher(cfg), LanguageModel(cfg.student, generator)
    teaching = Teaching(cfg, student, teacher)
    state = generator.get_state()
    given = teaching.draw(3, generator)
    generator.set_state(state)
    assert torch.equal(given.batch.tokens, written(student, 3, cfg.length, generator).tokens)
    torch.testing.assert_close(given.soft, teacher(given.batch.tokens).log_softmax(-1))


def test_equal_configurations_train_equal_students():
    one, other = trained_student(SMALL)[0], trained_student(SMALL)[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


ODD = {
    "another vocabulary of the student": ({"student__vocab": 25}, "student.vocab is 25, but the language has 24"),
    "another vocabulary of the teacher": ({"teacher__model__vocab": 30}, "teacher.model.vocab is 30"),
    "a temperature of 0": ({"temperature": 0.0}, "temperature"),
    "beta above 1": ({"beta": 1.5}, "beta"),
    "top above the vocabulary": ({"top": 25}, "top is 25; expected at most the vocabulary, 24"),
    "top with another loss": ({"top": 2, "beta": 1.0}, "top=2 is for the forward KL at temperature 1"),
    "less than a row": ({"tokens": 10}, "tokens is 10; expected at least one row"),
    "more hard steps than steps": ({"hard_steps": 9999}, "hard_steps is 9999"),
}


@pytest.mark.parametrize(("fields", "words"), ODD.values(), ids=ODD)
def test_what_makes_no_sense_is_refused_before_anything_runs(fields, words):
    with pytest.raises(ValueError, match=words):
        SMALL.replace(**fields)
