"""What a model writes follows what it predicts."""

import pytest
import torch
from torch import Generator

from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.sampling import write


@pytest.mark.parametrize("plan", ["swa swa", "full", "mamba2"])
def test_sampled_tokens_have_the_probabilities_of_the_whole_text(plan, generator):
    model = LanguageModel(ModelConfig(plan=plan, vocab=5, width=16), generator)
    prompt = torch.tensor([[1, 3]]).expand(6000, 2)
    new = write(model, prompt, 2, Generator().manual_seed(0))
    with torch.no_grad():
        first = model(torch.tensor([[1, 3]]))[0, -1].softmax(-1)
        second = model(torch.tensor([[1, 3, 2]]))[0, -1].softmax(-1)
    share = lambda tokens: torch.bincount(tokens, minlength=5) / len(tokens)  # noqa: E731
    torch.testing.assert_close(share(new[:, 0]), first, rtol=0, atol=0.03)
    chosen = new[new[:, 0] == 2, 1]
    torch.testing.assert_close(share(chosen), second, rtol=0, atol=3 / len(chosen) ** 0.5)


def test_a_low_temperature_takes_the_most_probable(generator):
    model = LanguageModel(ModelConfig(plan="full", vocab=5, width=16), generator)
    prompt = torch.tensor([[0, 4], [2, 2]])
    new = write(model, prompt, 3, Generator().manual_seed(0), temperature=1e-4)
    text = torch.cat([prompt, new], 1)
    with torch.no_grad():
        assert torch.equal(model(text).argmax(-1)[:, 1:4], new)
    assert write(model, prompt, 0, Generator()).shape == (2, 0)


@pytest.mark.parametrize(("prompt", "temperature"), [(torch.zeros(1, 0), 1.0), (torch.zeros(1, 2), 0.0)])
def test_no_prompt_and_no_temperature_are_refused(prompt, temperature, generator):
    model = LanguageModel(ModelConfig(plan="full", vocab=5, width=16), generator)
    with pytest.raises(ValueError, match="expected >= 1 and > 0"):
        write(model, prompt.long(), 3, Generator(), temperature=temperature)
