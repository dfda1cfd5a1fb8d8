"""The census on a fixed sample of architectures; `nox -s census` examines all of them."""

import pytest
import torch
from benchmarks.census.examine import RAN, examine
from torch import nn

from dyt_bench.conversion.specimen import Specimen
from dyt_bench.conversion.zoo import load

pytestmark = pytest.mark.slow

TIMM = [
    "beit_base_patch16_224",  # layer scale beside norms
    "cait_xxs24_224",
    "coat_tiny",
    "convnext_atto",  # LayerNorm2d and LayerNorm
    "convnextv2_atto",  # global response norm, which is none
    "crossvit_tiny_240",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "edgenext_xx_small",
    "efficientformer_l1",  # batch norms, and LayerNorms
    "eva02_tiny_patch14_224",
    "gcvit_xxtiny",
    "hiera_tiny_224",
    "maxvit_rmlp_pico_rw_256",
    "mixer_s32_224",
    "mobilevit_xxs",
    "poolformerv2_s12",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",  # asks a norm for its weight's device
    "swinv2_cr_tiny_224",
    "swinv2_tiny_window8_256",  # weights that start at zero
    "vit_relpos_small_patch16_rpn_224",
    "vit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
]
TRANSFORMERS = [
    "albert",
    "bamba",  # gated norms
    "bart",
    "beit",
    "bert",
    "bloom",
    "canine",
    "clip",
    "cohere2",
    "deberta-v2",
    "deepseek_v3",
    "dinov2",
    "distilbert",
    "electra",
    "falcon",
    "falcon_mamba",  # hands some norms' weights to a fused kernel
    "gemma",  # weights stored as the difference from one
    "gemma2",
    "gemma3_text",
    "glm4",
    "gpt2",
    "gpt_neox",
    "granite_docling_vision",  # calls view on the output of its norm
    "hy_v4",  # a norm that returns 1/rms
    "kimi_linear",
    "llama",
    "llama4_text",
    "longt5",
    "mamba",
    "mamba2",  # a gated norm, and one whose weight's dtype is read
    "mistral",
    "modernbert",
    "mpt",
    "nemotron_h",  # gated norms
    "olmo",  # without weight
    "olmo2",
    "opt",
    "phi3",
    "qwen2_moe",
    "qwen3",  # query and key norms
    "qwen3_next",
    "roberta",
    "rwkv",
    "segformer",
    "squeezebert",  # channels first, in three dimensions
    "stablelm",
    "t5",  # called LayerNorm, an RMS norm
    "vit",
    "wav2vec2",
    "whisper",
    "xlnet",
]
DIFFUSERS = [
    "AuraFlowTransformer2DModel",
    "ChromaTransformer2DModel",
    "DiTTransformer2DModel",  # norms without weight
    "SD3Transformer2DModel",
    "SanaVideoTransformer3DModel",
    "SkyReelsV2Transformer3DModel",
    "UNet2DConditionModel",  # group norms, and LayerNorms in its attention
    "WanTransformer3DModel",
]
SAMPLE = [
    *(f"timm:{name}" for name in TIMM),
    *(f"transformers:{name}" for name in TRANSFORMERS),
    *(f"diffusers:{name}" for name in DIFFUSERS),
]
# Shrunk, these do not run as they are: only the swap itself is tried.
NOT_RUN = {"transformers:bamba", "transformers:nemotron_h"}


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("spec", SAMPLE)
def test_norms_are_known_and_the_swapped_model_runs(spec):
    found = examine(load(spec))
    assert "unknown" not in found.kinds
    assert found.replaceable
    assert found.converted == found.reverted == RAN
    if spec in NOT_RUN:
        assert found.as_built != RAN
    else:
        assert (found.as_built, found.trained, found.evaluated) == (RAN, RAN, RAN)


class Stubborn(nn.Module):
    """Runs with its own norm only."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        kind = type(self.norm).__name__
        if kind != "LayerNorm":
            raise RuntimeError(f"what is a {kind}?")
        return self.norm(x)


def test_an_examination_says_what_broke_and_leaves_the_model_as_it_was():
    model = Stubborn()
    found = examine(Specimen("here", model, ({"y": None}, {"x": torch.randn(2, 4)})))
    assert found.as_built == found.converted == found.reverted == RAN
    assert found.trained == found.evaluated == "RuntimeError: what is a DynamicTanh?"
    assert type(model.norm) is nn.LayerNorm
    assert model.norm.weight.grad is None


def test_a_model_that_does_not_run_as_built_is_recorded_as_such():
    found = examine(Specimen("here", Stubborn(), ({"x": torch.randn(2, 5)},)))
    assert found.as_built.startswith("RuntimeError")
    assert found.trained is None
    assert found.converted == RAN
