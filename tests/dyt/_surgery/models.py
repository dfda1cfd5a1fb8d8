"""Small models of the libraries, which their configurations build offline."""

import torch
from torch import nn

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}
IDS = torch.arange(16).view(2, 8)
# "llama-tied" shares its embedding with the output layer, as GPT-2 does; Gemma's norms have 1 + w.
NAMES = ["llama", "llama-tied", "gemma", "bert", "gpt2", "wav2vec2", "mixtral", "dit", "vit"]
BUILT_BY_CONFIG = [name for name in NAMES if name != "vit"]


def _new(name):
    import transformers as t

    if name.startswith("llama"):
        tied = name.endswith("tied")
        return t.LlamaForCausalLM(t.LlamaConfig(**SMALL, tie_word_embeddings=tied))
    if name == "gemma":
        return t.GemmaForCausalLM(t.GemmaConfig(**SMALL, head_dim=8, num_key_value_heads=2))
    if name == "mixtral":
        experts = {"num_local_experts": 2, "num_key_value_heads": 2}
        return t.MixtralForCausalLM(t.MixtralConfig(**SMALL, **experts))
    if name == "bert":
        return t.BertForMaskedLM(t.BertConfig(**SMALL))
    if name == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 16}
        return t.GPT2LMHeadModel(t.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    if name == "wav2vec2":
        convolutions = {"conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2)}
        positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
        config = t.Wav2Vec2Config(
            **SMALL, **convolutions, **positions, num_feat_extract_layers=2, pad_token_id=0
        )
        return t.Wav2Vec2ForCTC(config)
    if name == "vit":
        import timm

        sizes = {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2}
        return timm.create_model("vit_tiny_patch16_224", **sizes)
    import diffusers

    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
    )


def new(name):
    """A native model, in eval mode."""
    return _new(name).eval()


def batch(name):
    """Arguments of the model."""
    random = torch.Generator().manual_seed(0)
    if name == "wav2vec2":
        return {"input_values": torch.randn(1, 400, generator=random)}
    if name == "vit":
        return {"x": torch.randn(1, 3, 32, 32, generator=random)}
    if name == "dit":
        step, label = torch.tensor([3]), torch.tensor([2])
        x = torch.randn(1, 4, 8, 8, generator=random)
        return {"hidden_states": x, "timestep": step, "class_labels": label}
    return {"input_ids": IDS}


def trained(model: nn.Module) -> nn.Module:
    """The model with every parameter changed, and none equal to another."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            parameter.add_(0.05 * noise.to(parameter.dtype))
    return model


def output(model: nn.Module, name: str) -> torch.Tensor:
    """What the model computes of its batch."""
    dtype = next(model.parameters()).dtype
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in batch(name).items()}
    with torch.no_grad():
        made = model(**given)
    return made if isinstance(made, torch.Tensor) else made[0]
