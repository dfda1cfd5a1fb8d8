"""Alpha by the papers' tables."""

import pytest
from torch import nn

import dyt
from dyt.recipes import LLAMA, SWAP_ONLY


@pytest.mark.parametrize(
    ("width", "attention", "rest"), [(4096, 0.8, 0.2), (5120, 0.6, 0.15), (8192, 0.2, 0.05)]
)
def test_llama_rule_gives_the_papers_alpha(width, attention, rest):
    layer = nn.ModuleDict(
        {
            "input_layernorm": nn.RMSNorm(width, device="meta"),
            "post_attention_layernorm": nn.RMSNorm(width, device="meta"),
        }
    )
    model = nn.ModuleDict({"layers": nn.ModuleList([layer]), "norm": nn.RMSNorm(width)})
    alpha = {site.name: LLAMA.alpha(site) for site in dyt.audit(model)}
    assert alpha == {
        "layers.0.input_layernorm": attention,
        "layers.0.post_attention_layernorm": rest,
        "norm": rest,
    }


def test_swap_only_is_one_half_everywhere():
    model = dyt.convert(nn.Sequential(nn.LayerNorm(4)), alpha_init_value=SWAP_ONLY.alpha)
    assert model[0].alpha.item() == 0.5
