"""What looks for a kind of layer finds it by its type, also where torch.compile has wrapped the layer or the model."""

import pytest
import torch
from torch import Generator

from lablib.data.batch import every_next
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.ablation import each_alone
from lablib.longcontext.monitor import watch_shares
from lablib.longcontext.seesaw import RetrievalProbe, answer_questions, path_gradients
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.losses import next_token_loss

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile imports what torch calls deprecated
BATCH = every_next(torch.randint(9, (2, 33), generator=Generator().manual_seed(0)))
PLACES = ["", "blocks.1", "blocks.1.mixers.0", "blocks.1.mixers.0.part", "blocks.1.mixers.1.part", "encoder", "head"]
PLACES += ["blocks.1.mixers.1.part.retriever", "blocks.1.mixers.1.part.retriever.query"]


def make(place: str | None):
    cfg = ModelConfig(plan="swa memory swa+hsa", vocab=9, width=8, window=6, chunk=4, top_k=2)
    model = LanguageModel(cfg, Generator().manual_seed(1))
    if place:
        parent, _, leaf = place.rpartition(".")
        setattr(model.get_submodule(parent), leaf, torch.compile(model.get_submodule(place)))
    return torch.compile(model) if place == "" else model


def measured(model) -> dict:
    loss, logits = next_token_loss(model, BATCH)
    loss.backward()
    row = {"loss": loss.item(), "reach": model.reach, "path": sorted(model.hsa_parameters())}
    row["gradients"] = path_gradients(model)
    RetrievalProbe().after_backward(0, model, BATCH._replace(evidence=BATCH.evidence + 1), logits.detach(), row)
    row["alone"] = each_alone(model, lambda: float(next_token_loss(model, BATCH)[0].detach()))
    asked = answer_questions(
        model, RetrievalConfig(num_noise=3, num_keys=2, num_values=2), 96, 3, Generator().manual_seed(3)
    )
    row["answers"] = str(asked)
    with watch_shares(model) as shares:
        model(BATCH.tokens)
    return row | {"shares": shares}


@pytest.mark.parametrize("place", PLACES)
def test_probes_say_the_same_of_a_compiled_model(place):
    with torch.compiler.set_stance("force_eager"):  # wrapped as ever, and computed by torch itself
        found = measured(make(place))
    assert found == measured(make(None))
    assert min(found["gradients"]) > 0


def test_the_path_is_the_layers_with_their_norms_and_the_encoder():
    path = set(make(None).hsa_parameters())
    assert {name.split(".")[0] for name in path} == {"blocks", "encoder"}
    assert {name for name in path if name.startswith("blocks")} == {
        f"blocks.1.mixers.1.{name}"
        for name in ("before.gain", "part.query.weight", "part.out.weight", "part.query_norm.gain",
                     "part.retriever.query.weight", "part.retriever.norm.gain")
    }  # fmt: skip


def test_the_path_of_a_plan_without_hsa_is_empty():
    assert LanguageModel(ModelConfig(plan="swa")).hsa_parameters() == {}
