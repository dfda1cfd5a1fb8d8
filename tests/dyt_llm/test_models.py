import pytest
import torch

import dyt
from dyt_llm.models import MODELS

NORMS = [
    f"model.layers.{layer}.{norm}"
    for layer in range(4)
    for norm in ("input_layernorm", "post_attention_layernorm")
] + ["model.norm"]


@pytest.mark.parametrize("vocabulary", [256, 1024])
def test_logits_are_over_the_vocabulary(vocabulary: int) -> None:
    model = MODELS["llama"](vocabulary, 128)
    tokens = torch.randint(vocabulary, (2, 128))
    assert model(input_ids=tokens).logits.shape == (2, 128, vocabulary)


def test_no_token_sees_a_later_one() -> None:
    model = MODELS["llama"](256, 128).eval()
    tokens = torch.randint(256, (1, 128))
    changed = tokens.clone()
    changed[0, 100] = (tokens[0, 100] + 1) % 256
    with torch.no_grad():
        before, after = model(input_ids=tokens).logits, model(input_ids=changed).logits
    torch.testing.assert_close(before[:, :100], after[:, :100])
    assert not torch.allclose(before[:, 100:], after[:, 100:])


@pytest.mark.parametrize("norm", ["dyt", "derf"])
def test_the_swap_takes_the_nine_norms_of_the_paper(norm: str) -> None:
    model = MODELS["llama"](256, 128)
    assert [site.name for site in dyt.audit(model) if site.reason is None] == NORMS
    dyt.convert(model, norm)
    swapped = [name for name, module in model.named_modules() if hasattr(module, "alpha")]
    assert sorted(swapped) == sorted(NORMS)
    assert not dyt.audit(model)
    assert all(getattr(model.get_submodule(name), "bias", None) is None for name in swapped)
