"""Fine-tuning: what is pretrained on, the loss of both phases, and where a run resumes."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

import dyt
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.phases import Groups
from dyt_bench.plugin.task import Task
from dyt_bench.testing.checked import CheckedDomain
from dyt_dna.bases import BASES, MASK, UNKNOWN, reverse_complement
from dyt_dna.finetuning import domain
from dyt_dna.finetuning.data import FineTuningData

TASK = Task(
    domain="dna-finetuning",
    model="hyena-w64",
    dataset="species",
    steps=6,
    batch_size=4,
    learning_rate=4e-3,
    val_every=6,
)
PRETRAINING = 2  # of 6 steps


def built(task: Task = TASK) -> tuple[FineTuningData, torch.nn.Module]:
    data = domain.build_data(task)
    torch.manual_seed(0)
    module = domain.build_module(task, data)
    module.log = lambda *_, **__: None
    return data, module


def test_every_model_trains_by_presets_that_are_there() -> None:
    assert {model.training for model in domain.models.values()} <= set(domain.trainings)
    for model in domain.models.values():
        assert 0 < domain.trainings[model.training].options["pretraining_share"] < 1


def test_windows_come_first_and_then_labelled_sequences() -> None:
    data, _ = built()
    epochs = (batch for _ in range(2) for batch in data.train_dataloader())
    batches = list(islice(epochs, 6))
    assert [len(batch) for batch in batches] == [3, 3, 2, 2, 2, 2]
    inputs, targets, _ = batches[0]
    assert inputs.shape == (4, 1, 128)
    assert torch.equal(inputs[..., 1:], targets[..., :-1])  # each next base
    assert batches[2][0].shape == (4, 128)


def test_nothing_held_out_is_pretrained_on() -> None:
    data, _ = built()
    windows = data.unlabelled.samples.windows
    stretches = {id(part.stretch): part.stretch for part in windows.datasets}
    text = b"|".join(bytes(stretch.tokens.numpy()) for stretch in stretches.values())
    held_out, repeats = data.labelled.val, 0
    for index in range(len(held_out)):
        tokens = held_out[index]
        strands = (tokens, reverse_complement(tokens.long()).to(torch.uint8))
        repeats += any(bytes(strand.numpy()) in text for strand in strands)
    # Genes of ribosomes and transposons, which a genome has several times.
    assert repeats / len(held_out) < 0.01


def test_pretraining_is_the_cross_entropy_of_next_bases() -> None:
    data, module = built()
    batch = next(iter(data.train_dataloader()))
    batch[1][0, 0, :5] = UNKNOWN  # no targets
    loss = module.pretraining_step(batch, 0)
    of_windows = []
    for window, targets in zip(batch[0][:, 0], batch[1][:, 0], strict=True):
        chances = module.model.backbone(window[None])[0].double().softmax(-1)
        nats = [-chances[i, t].log() for i, t in enumerate(targets) if t != UNKNOWN]
        of_windows.append(torch.stack(nats).mean())
    torch.testing.assert_close(loss.double(), torch.stack(of_windows).mean())


def test_the_classifier_learns_in_the_second_phase_alone() -> None:
    data, module = built()
    start = module.model.score.weight.clone()
    batches = iter(data.train_dataloader())
    module.training_step(next(batches), 0).backward()
    assert module.model.score.weight.grad is None
    assert module.model.backbone.embedding.weight.grad is not None
    module._enter(pretraining=False)
    module.training_step(list(batches)[PRETRAINING], 0).backward()
    assert module.model.score.weight.grad.abs().sum() > 0
    assert torch.equal(module.model.score.weight, start)


def test_masks_are_drawn_anew_at_each_step_and_windows_stacked() -> None:
    data, _ = built(replace(TASK, model="caduceus"))
    groups = Groups(data.unlabelled.samples, 3, paired=True)
    first, second = groups[0, 5], groups[1, 5]
    assert [tuple(part.shape) for part in first] == [(3, 256)] * 3
    assert not torch.equal(first[0], second[0])
    assert torch.equal(groups[0, 5][0], first[0])
    for inputs, targets, _ in (first, second):
        hidden = targets != UNKNOWN
        assert 0.05 < hidden.float().mean() < 0.25  # 15 %
        assert torch.equal(inputs[~hidden].clamp(max=MASK), inputs[~hidden])
        assert (inputs[hidden] == MASK).float().mean() > 0.6  # four fifths of them


def test_labelled_sequences_are_pretrained_on_whole_where_there_is_no_genome(
    folder: Path,
) -> None:
    data, module = built(replace(TASK, dataset="genomic-benchmarks", path=folder))
    longest = data.length
    inputs, targets, _ = data.unlabelled[0, 0]
    sequence = data.labelled.train[0].long()
    assert torch.equal(inputs[0, : len(sequence)], sequence)
    assert torch.equal(targets[0, : len(sequence) - 1], sequence[1:])
    assert set(targets[0, len(sequence) - 1 :].tolist()) <= {UNKNOWN}
    other, _, _ = data.unlabelled[0, len(data.labelled.train)]
    assert torch.equal(other[0, : len(sequence)], reverse_complement(sequence))
    assert inputs.shape == (1, longest)
    batch = next(iter(data.train_dataloader()))
    assert module.pretraining_step(batch, 0).isfinite()


@pytest.fixture
def both(tmp_path: Path, sequence: Callable[..., str]) -> Path:
    """A genome, and a hundred of its pieces in two classes."""
    text = sequence(1, 30_000)
    (tmp_path / "hg38").mkdir()
    (tmp_path / "hg38" / "hg38.fa").write_text(f">chr1\n{text}\n")
    for use, start in {"train": 0, "test": 20_000}.items():
        for number, name in enumerate(("enhancer", "random")):
            (tmp_path / "genomic-benchmarks" / use / name).mkdir(parents=True)
            for i in range(25):
                place = start + 400 * i + 200 * number
                file = tmp_path / "genomic-benchmarks" / use / name / f"{i}.txt"
                file.write_text(text[place : place + 150])
    return tmp_path


def test_a_genome_beside_labelled_sequences_is_pretrained_on(both: Path) -> None:
    task = replace(TASK, dataset="hg38-genomic-benchmarks", path=both)
    assert len(list(domain.datasets[task.dataset].files(both))) == 101
    data, module = built(task)
    inputs, _, _ = data.unlabelled[0, 3]
    text = (both / "hg38" / "hg38.fa").read_text()
    assert "".join(BASES[token] for token in inputs[0]) in text
    assert len(data.labelled.train) == 50
    assert module.pretraining_step(next(iter(data.train_dataloader())), 0).isfinite()


def test_a_folder_without_both_is_a_mistake(tmp_path: Path) -> None:
    files = domain.datasets["hg38-genomic-benchmarks"].files
    with pytest.raises(DataError, match="a folder with the folders hg38 and genomic-benchmarks"):
        files(None)
    with pytest.raises(DataError, match="hg38 does not exist"):
        files(tmp_path)


def test_every_norm_of_the_pretrained_model_is_the_classifiers() -> None:
    _, module = built()
    dyt.convert(module, "dyt")
    assert len(dyt.alphas(module)) == 5
    assert not dyt.audit(module.model.score)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "phase"), [(0.75, "first"), (0.5, "border"), (0.25, "second")])
def test_a_run_that_is_cut_off_resumes_in_either_phase(
    monkeypatch: pytest.MonkeyPatch, share: float, phase: str
) -> None:
    preset = domain.trainings["default"]
    options = {**preset.options, "pretraining_share": share}
    monkeypatch.setattr(type(domain), "trainings", {"default": replace(preset, options=options)})
    checked = CheckedDomain(domain)
    whole, cut = checked.run(), checked.run_cut_off(2)  # of 4 steps
    assert cut.result.facts["resumed"] == "2"
    assert cut.numbers() == whole.numbers()
    assert cut.result.last == whole.result.last
