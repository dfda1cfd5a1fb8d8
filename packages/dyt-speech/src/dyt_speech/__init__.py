"""Self-supervised speech: transformers' wav2vec 2.0. The domain object, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.cell import Task
from dyt_bench.domain import Dataset, Domain, Metric, Model
from dyt_bench.sources import files_below, package_file

if TYPE_CHECKING:
    from dyt_speech.data import SpeechData
    from dyt_speech.module import Pretraining


def _clips(path: Path | None) -> list[Path]:
    return files_below(package_file("dyt_speech", "clips"), {".wav"}, "SOURCE/CLIP.wav")


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, {".wav", ".flac", ".ogg", ".mp3"}, "AUDIO.wav")


class Speech(Domain):
    name = "speech"
    summary = "self-supervised speech representation"
    unit = "second"
    metric = Metric(
        name="val/loss", mode="min", title="contrastive loss (nats/masked frame)", margin=0.05
    )
    preload = ("dyt_speech.data", "dyt_speech.module")
    models = {
        "wav2vec2": Model(
            summary="wav2vec 2.0, 4 layers of 64 on 7 convolutions of 32, 2 codebooks of 8",
            library="transformers",
            native_norm="LayerNorm",
            steps=200,
            batch_size=8,
            learning_rate=4e-3,
        ),
    }
    datasets = {
        "clips": Dataset(
            summary="10 recorded clips, 34 s, 16 kHz: a read book and spoken playing cards",
            source="PocketSphinx 5.1.1 (PyPI, source distribution), test data",
            licence="BSD-2-Clause style",
            files=_clips,
        ),
        "folder": Dataset(
            summary="your recordings, any rate, one or more channels",
            source="path: a folder with at least two audio files",
            licence="yours",
            files=_folder,
            takes_path=True,
        ),
    }

    def build_data(self, task: Task) -> SpeechData:
        from dyt_speech.data import speech_data

        return speech_data(task, self.datasets[task.dataset].files(task.path))

    def build_module(self, task: Task, data: SpeechData) -> Pretraining:  # type: ignore[override]
        from dyt_speech.module import Pretraining

        return Pretraining(task, self.training(task))


domain = Speech()
