"""wav2vec 2.0 at the suite's size, built by transformers."""

from collections.abc import Callable

from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining


def _wav2vec2() -> Wav2Vec2ForPreTraining:
    # What is not named is as in wav2vec 2.0 base: the seven convolutions' kernels and strides
    # (a frame every 20 ms), group norm in the first, post-norm layers, dropout 0.1. Smaller than
    # its size alone asks for are the codebooks and the number of negatives.
    config = Wav2Vec2Config(
        conv_dim=(32,) * 7,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        num_codevector_groups=2,
        # Base has 320. With 32, half a minute of speech is not enough to make codes that can be
        # told from their context: after 200 steps the loss was still log(21), a blind guess.
        num_codevectors_per_group=8,
        codevector_dim=64,
        proj_codevector_dim=64,
        num_negatives=20,  # base has 100 and 15 s to draw them from; a second masks 25 frames
        layerdrop=0.0,  # dropping one of 4 layers is not what dropping one of 12 is
    )
    return Wav2Vec2ForPreTraining(config)


# name -> model on (B, samples) waveforms at 16 kHz
MODELS: dict[str, Callable[[], Wav2Vec2ForPreTraining]] = {"wav2vec2": _wav2vec2}
