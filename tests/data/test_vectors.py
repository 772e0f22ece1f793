"""Vectors to embed: what a class and a pair share, and that a task is drawn from its generator."""

import torch

from lablib.data.vectors import Classes, ClassesConfig, Views, ViewsConfig


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rows_come_from_their_generator_and_the_task_from_its_own():
    for task in (Classes(ClassesConfig(), seeded()), Views(ViewsConfig(), seeded())):
        one, two, other = task(8, seeded(1)), task(8, seeded(1)), task(8, seeded(2))
        assert all(map(torch.equal, one, two))
        assert not torch.equal(one[0], other[0])
        assert not torch.equal(one[0], type(task)(task.cfg, seeded(3))(8, seeded(1))[0])
        assert task(0, seeded())[0].shape == (0, 96)


def test_without_noise_a_class_is_one_point_and_classes_of_a_group_are_nearer():
    task = Classes(ClassesConfig(noise=0.0, offset=0.3), seeded())
    vectors, classes = task(400, seeded(1))
    first = vectors[classes == classes[0]]
    torch.testing.assert_close(first, first[:1].expand_as(first))
    means = task.means.unflatten(0, (16, 16))
    inside = (means[:, :1] - means[:, 1:]).norm(dim=-1).mean()
    assert inside < (means[:1, 0] - means[1:, 0]).norm(dim=-1).mean()


def test_without_noise_views_show_one_hidden_vector_in_two_ways():
    task = Views(ViewsConfig(noise=0.0), seeded())
    queries, documents = task(4, seeded(1))
    factors = torch.randn(4, task.cfg.hidden, generator=seeded(1))
    torch.testing.assert_close(queries, task.query(factors))
    torch.testing.assert_close(documents, task.document(factors))
    assert not torch.allclose(queries, documents)
