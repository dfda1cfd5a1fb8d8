"""Language modelling: transformers' LLaMA. The domain object, nothing else."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.cell import Task
from dyt_bench.domain import DataError, Dataset, Domain, Metric, Model, Training
from dyt_bench.sources import files_below

if TYPE_CHECKING:
    from dyt_llm.data import TextData
    from dyt_llm.module import LanguageModel

# Enough text for any budget here, little enough to read and hash in milliseconds.
PACKAGES = ("asyncio", "email", "http", "json", "logging")
# Modules that a distribution or an administrator adds: no part of the library.
FOREIGN = {"sitecustomize.py", "usercustomize.py"}


def _stdlib(path: Path | None) -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    # A leading underscore marks private modules, and the ones that record how this very Python
    # was built.
    files = [file for file in root.glob("[!_]*.py") if file.name not in FOREIGN]
    for package in PACKAGES:
        files += (root / package).rglob("*.py")
    if not files:
        raise DataError(
            f"{root} holds no .py sources of the standard library: use a Python that ships them, "
            "or the data set 'folder' with your own text"
        )
    return sorted(files)


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, {".txt", ".md", ".rst", ".py"}, "TEXT.txt")


class LanguageModelling(Domain):
    name = "llm"
    summary = "language modelling"
    unit = "token"
    metric = Metric(name="val/loss", mode="min", title="loss (nats/byte)", margin=0.02)
    preload = ("dyt_llm.data", "dyt_llm.module")
    models = {
        "llama": Model(
            summary="LLaMA, 4 layers of 128, 4 heads, 128 tokens of context",
            library="transformers",
            native_norm="RMSNorm",
            steps=160,
            batch_size=8,
            learning_rate=1e-3,
        ),
    }
    trainings = {
        "default": Training(
            summary="LLaMA's AdamW; warm-up over a tenth of the steps, decay to zero",
            source="arXiv 2302.13971, section 2.3",
            weight_decay=0.1,
        ),
    }
    datasets = {
        "stdlib": Dataset(
            summary="5 MB of Python: the running interpreter's standard library, byte by byte",
            source="sysconfig.get_path('stdlib'): public modules and five packages",
            licence="PSF-2.0",
            files=_stdlib,
        ),
        "stdlib-bpe": Dataset(
            summary="the same text in 1,024 tokens, a byte-level BPE trained on the training files",
            source="sysconfig.get_path('stdlib'): public modules and five packages",
            licence="PSF-2.0",
            files=_stdlib,
        ),
        "folder": Dataset(
            summary="your text files, byte by byte",
            source="path: a folder with .txt, .md, .rst or .py files, or one such file",
            licence="yours",
            files=_folder,
            takes_path=True,
        ),
    }

    def build_data(self, task: Task) -> TextData:
        from dyt_llm.data import text_data

        return text_data(task, self.datasets[task.dataset].files(task.path))

    def build_module(self, task: Task, data: TextData) -> LanguageModel:  # type: ignore[override]
        from dyt_llm.module import LanguageModel

        return LanguageModel(task, data, self.training(task))


domain = LanguageModelling()
