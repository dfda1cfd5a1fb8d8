"""Models, training presets and data sets: data only, read without torch.

The options of a preset are arguments: of `dyt_speech.module.Pretraining` and of
`dyt_speech.data.datamodule.SpeechData`.
"""

from collections.abc import Mapping

from dyt_bench.plugin.domain import Dataset, Fetch, Model, TrainingPreset
from dyt_bench.plugin.fetch import DEBIAN
from dyt_speech.data import files

_PAPER = "arXiv 2006.11477, section 4.2"

MODELS: Mapping[str, Model] = {
    "wav2vec2": Model(
        summary="wav2vec 2.0, 4 layers of 64 on 7 convolutions of 32, 2 codebooks of 8; in its "
        "budget codes are predicted better than blindly, and features tell less than mel bands",
        library="transformers",
        native_norm="LayerNorm",
        steps=500,
        batch_size=4,
        learning_rate=4e-3,
    ),
    "wav2vec2-base": Model(
        summary="wav2vec 2.0 base: 12 layers of 768, 95 M parameters; a batch is 1.6 h",
        library="transformers",
        native_norm="LayerNorm",
        steps=400_000,
        batch_size=358,
        learning_rate=5e-4,
        training="base",
        small="wav2vec2",
    ),
    "wav2vec2-large": Model(
        summary="wav2vec 2.0 large: 24 pre-norm layers of 1024, 317 M; a batch is 2.7 h",
        library="transformers",
        native_norm="LayerNorm",
        steps=250_000,
        batch_size=480,
        learning_rate=3e-4,
        training="large",
        small="wav2vec2",
    ),
}

TRAININGS: Mapping[str, TrainingPreset] = {
    "default": TrainingPreset(
        summary="wav2vec 2.0's objective on seconds of speech. Changed from base: this suite's "
        "AdamW and cosine, masks of 3 frames, no layer drop, no L2 penalty, the extractor's "
        "gradient in full, float32",
        source=_PAPER,
        options={
            "seconds": 1.0,
            "shortest": 1.0,
            "mask_length": 3,  # 60 ms; the paper's 10 need more speech and more steps
            "layer_drop": 0.0,  # dropping one of 4 layers is not what dropping one of 12 is
            "extractor_gradient": 1.0,
            "feature_penalty": 0.0,
            "temperature_floor": 0.5,
            "temperature_updates": 400_000,
            "diversity_over": 4,  # the model's batch
            "val_maskings": 1,
        },
    ),
    "base": TrainingPreset(
        summary="wav2vec 2.0 base on LibriSpeech: Adam, warm-up 8 %, linear decay, crops of up to "
        "15.6 s; bfloat16 where the paper has float16",
        source=_PAPER,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=0.01,
        decays="all",
        warmup=0.08,
        schedule="linear",
        precision="bf16-mixed",
        options={
            "seconds": 15.625,
            "shortest": 2.0,
            "mask_length": 10,
            "layer_drop": 0.05,
            "extractor_gradient": 0.1,
            "feature_penalty": 10.0,
            "temperature_floor": 0.5,
            "temperature_updates": 400_000,
            "diversity_over": 5,  # what one GPU holds there: 87 s
            "val_maskings": 1,
        },
    ),
    "large": TrainingPreset(
        summary="wav2vec 2.0 large on LibriSpeech: as base, crops of up to 20 s, layer drop 0.2, "
        "temperature down to 0.1",
        source=_PAPER,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=0.01,
        decays="all",
        warmup=0.08,
        schedule="linear",
        precision="bf16-mixed",
        options={
            "seconds": 20.0,
            "shortest": 2.0,
            "mask_length": 10,
            "layer_drop": 0.2,
            "extractor_gradient": 0.1,
            "feature_penalty": 10.0,
            "temperature_floor": 0.1,
            "temperature_updates": 250_000,
            "diversity_over": 3,  # what one GPU holds there: 75 s
            "val_maskings": 1,
        },
    ),
}

# Package of Debian -> SHA-256.
_ASTERISK = {
    "asterisk-core-sounds-en-g722": (
        "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"
    ),
    "asterisk-core-sounds-es-g722": (
        "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8"
    ),
    "asterisk-core-sounds-fr-g722": (
        "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0"
    ),
    "asterisk-core-sounds-it-g722": (
        "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016"
    ),
    "asterisk-core-sounds-ru-g722": (
        "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b"
    ),
}
DATASETS: Mapping[str, Dataset] = {
    "prompts": Dataset(
        summary="13 minutes of telephone prompts in five languages, 16 kHz, 60 recordings",
        source="Debian's asterisk-core-sounds-{en,es,fr,it,ru}-g722 1.6.1, as prompts/*/NOTICE of "
        "this package say",
        licence="CC-BY-SA-3.0 and CC-BY-3.0",
        files=files.FILES["prompts"],
    ),
    "clips": Dataset(
        summary="10 recorded clips, 34 s, 16 kHz: a read book and spoken playing cards",
        source="PocketSphinx 5.1.1 (PyPI, source distribution), test data",
        licence="BSD-2-Clause style",
        files=files.FILES["clips"],
    ),
    "asterisk": Dataset(
        summary="2,781 telephone prompts, 2 h, 16 kHz, by four speakers in five languages",
        source="Debian's asterisk-core-sounds-{en,es,fr,it,ru}-g722; needs PyAV to decode",
        licence="CC-BY-SA-3.0 and CC-BY-3.0",
        files=files.FILES["asterisk"],
        small="prompts",
        fetch=Fetch(
            size="55 MB",
            debian=tuple(files.ASTERISK.values()),
            addresses={
                f"{DEBIAN}/a/asterisk-core-sounds/{package}_1.6.1-1_all.deb": f"sha256:{digest}"
                for package, digest in _ASTERISK.items()
            },
            keep=("usr/share/asterisk/sounds/**/*.g722", "usr/share/doc/*/copyright"),
        ),
    ),
    "librispeech": Dataset(
        summary="English books read aloud; yours by path, with any of its parts train-* and dev-*",
        source="openslr.org, set 12, by torchaudio; fetched: train-clean-100 and dev-clean",
        licence="CC-BY-4.0",
        files=files.FILES["librispeech"],
        small="prompts",
        takes_path=True,
        fetch=Fetch(
            size="6.7 GB",
            load=files.fetch_librispeech,
            keep=("LibriSpeech/*/*/*/*.flac", "LibriSpeech/SPEAKERS.TXT"),
        ),
    ),
    "speech-commands": Dataset(
        summary="105,829 spoken words of a second, version 0.02; yours by path",
        source="Warden 2018 (arXiv 1804.03209), by torchaudio",
        licence="CC-BY-4.0",
        files=files.FILES["speech-commands"],
        small="prompts",
        takes_path=True,
        fetch=Fetch(
            size="2.4 GB",
            load=files.fetch_speech_commands,
            keep=(
                "SpeechCommands/speech_commands_v0.02/*/*.wav",
                "SpeechCommands/speech_commands_v0.02/*.txt",
            ),
        ),
    ),
    "folder": Dataset(
        summary="your recordings, any rate, one or more channels",
        source="path: a folder with at least two audio files",
        licence="yours",
        files=files.FILES["folder"],
        takes_path=True,
    ),
}
