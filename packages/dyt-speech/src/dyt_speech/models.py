"""wav2vec 2.0 at three sizes, built by transformers."""

from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from dyt_bench.plugin.domain import entry

# All other settings are those of wav2vec 2.0 base: the kernels and strides of the seven
# convolutions (a frame every 20 ms), group norm in the first one, post-norm layers, dropout 0.1.
_SMALL = Wav2Vec2Config(
    conv_dim=(32,) * 7,
    hidden_size=64,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=256,
    num_codevector_groups=2,
    # Base has 320. With 32, half a minute of speech is too little to learn codes that the context
    # predicts: after 200 steps the loss was still log(21), a blind guess.
    num_codevectors_per_group=8,
    codevector_dim=64,
    proj_codevector_dim=64,
    num_negatives=20,  # base has 100 and 15 s to draw them from; a second masks 25 frames
)
_BASE = Wav2Vec2Config(
    activation_dropout=0.0,
    feat_proj_dropout=0.1,
    feat_quantizer_dropout=0.1,
)
# On LibriSpeech, as arXiv 2503.10622 and 2512.10938 train it: pre-norm layers on base's extractor,
# its group norm and no bias. (That of Libri-Light has a layer norm after every convolution.)
_LARGE = Wav2Vec2Config(
    do_stable_layer_norm=True,
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    codevector_dim=768,
    proj_codevector_dim=768,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.1,
    feat_quantizer_dropout=0.1,
)
CONFIGS = {"wav2vec2": _SMALL, "wav2vec2-base": _BASE, "wav2vec2-large": _LARGE}


def build(name: str, *, layer_drop: float = 0.0) -> Wav2Vec2ForPreTraining:
    """The model called ``name``, on (B, samples) waveforms at 16 kHz.

    Args:
        layer_drop: share of the transformer's layers that a training step skips.

    Raises:
        UserError: no model has that name.
    """
    config = entry(CONFIGS, name, "model").to_dict() | {"layerdrop": layer_drop}
    return Wav2Vec2ForPreTraining(Wav2Vec2Config(**config))
