"""DNA: language models of genomes, classification of sequences. The domain object, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dyt_bench.plugin.domain import Domain, Metric
from dyt_bench.plugin.task import Task
from dyt_dna.catalog import ARCHITECTURES, DATASETS, LABELLED, MODELS
from dyt_dna.recipes import TRAININGS

if TYPE_CHECKING:
    from dyt_dna.classifier import Classifier
    from dyt_dna.data import GenomeData
    from dyt_dna.labelled import LabelledData
    from dyt_dna.module import LanguageModel

# Of the Markov chain that a model is to beat. Of next bases, the best order on the chloroplast; of
# masked ones the bases' frequencies, as a step has a fraction of the targets to learn from.
ORDER, MASKED_ORDER = 6, 0


class DNA(Domain):
    name = "dna"
    summary = "next or masked nucleotides, and classes of sequences"
    unit = "base"
    metric = Metric(
        name="val/loss",
        mode="min",
        title="loss (nats/base)",
        margin=0.005,
        reference=f"a Markov chain of order {ORDER}; of masked bases, their frequencies; "
        "of classes, the GC content",
    )
    preload = ("dyt_dna.evaluation",)
    models = MODELS
    datasets = DATASETS
    trainings = TRAININGS

    def build_data(self, task: Task) -> GenomeData | LabelledData:
        files = list(self.datasets[task.dataset].files(task.path))
        if task.dataset in LABELLED:
            from dyt_dna.labelled import labelled_data

            return labelled_data(task, files)
        from dyt_dna.data import genome_data

        return genome_data(task, files, self.training(task).options)

    def build_module(  # type: ignore[override]
        self, task: Task, data: GenomeData | LabelledData
    ) -> LanguageModel | Classifier:
        from dyt_dna.classifier import Classifier
        from dyt_dna.data import GenomeData
        from dyt_dna.module import LanguageModel

        kind = LanguageModel if isinstance(data, GenomeData) else Classifier
        return kind(task, data, self.training(task))

    def reference_score(self, task: Task, data: GenomeData | LabelledData) -> float:  # type: ignore[override]
        from dyt_dna.data import GenomeData
        from dyt_dna.labelled import gc_baseline
        from dyt_dna.markov import markov_loss

        if isinstance(data, GenomeData):
            masked = ARCHITECTURES[task.model].masked
            return markov_loss(data, MASKED_ORDER if masked else ORDER)
        return gc_baseline(data)[0]

    def evaluate(  # type: ignore[override]
        self,
        task: Task,
        module: LanguageModel | Classifier,
        data: GenomeData | LabelledData,
        folder: Path,
    ) -> Mapping[str, float]:
        from dyt_dna import evaluation

        return evaluation.measure(module, data)


domain = DNA()
