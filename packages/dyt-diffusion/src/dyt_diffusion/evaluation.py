"""Metrics taken once at the end, of samples: a Fréchet distance, and a picture of them."""

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.utils import make_grid

from dyt_bench.plugin.data import at_most
from dyt_bench.plugin.domain import TrainingPreset
from dyt_diffusion.classifier import accuracy, trained_classifier
from dyt_diffusion.data.datamodule import DiffusionData
from dyt_diffusion.module import Denoiser
from dyt_diffusion.reference import independent_pixels

_BATCH = 200  # samples drawn at once
_COMPARED_WITH = 10_000  # training images at most
_COLUMNS = 10  # classes in the picture at most
_ROWS = 8  # samples of each at most


@torch.no_grad()
def evaluate(
    module: Denoiser, data: DiffusionData, folder: Path, preset: TrainingPreset
) -> Mapping[str, float]:
    """Draw samples of all classes in turn, compare them with the training images, show some.

    The preset's options: "samples", how many; "sampling_steps", evaluations of the model for
    each; "guidance", 1 unless it is given.

    Returns:
        frechet_classifier: the Fréchet distance between samples and training images, in the
            features of a small classifier of the same data. Never to be compared with an FID,
            nor between data sets.
        frechet_classifier_real: the same of at most as many held-out images: what is within
            reach. Left out where only one image is held out.
        classifier_accuracy: the classifier's, on the held-out images.
        label_accuracy: the share of samples that it takes for the class they were drawn for.
        label_accuracy_pixels: the same of samples whose values are drawn each by itself, from its
            mean and spread in the class. Pixels alone.
    """
    count = int(preset.options["samples"])
    steps = int(preset.options["sampling_steps"])
    guidance = float(preset.options.get("guidance", 1.0))
    with torch.enable_grad():
        classifier = trained_classifier(data, module.device)
    distance = FrechetInceptionDistance(classifier.features, reset_real_features=False)
    distance = distance.to(module.device)
    for images, _ in _batches(data.plain, _COMPARED_WITH):
        distance.update(images.to(module.device), real=True)
    picture = _Picture(data, count)
    generator = torch.Generator().manual_seed(0)
    right = 0
    for labels in torch.split(torch.arange(count) % data.classes, _BATCH):
        samples = module.sample(labels, steps, guidance, generator)
        distance.update(samples, real=False)
        right += int((classifier(samples).argmax(1).cpu() == labels).sum())
        picture.add(samples.cpu(), labels)
    picture.save(folder / "samples.png")
    metrics = {
        "frechet_classifier": distance.compute().item(),
        "classifier_accuracy": accuracy(classifier, data),
        "label_accuracy": right / count,
    }
    if data.autoencoder is None:
        wanted = torch.arange(count) % data.classes
        drawn = independent_pixels(data, wanted, generator)
        parts = torch.split(drawn, _BATCH)
        taken = torch.cat([classifier(part.to(module.device)).argmax(1).cpu() for part in parts])
        metrics["label_accuracy_pixels"] = float((taken == wanted).float().mean())
    if len(cast(Sized, data.val)) > 1:
        distance.reset()
        for images, _ in _batches(data.val, count):
            distance.update(images.to(module.device), real=False)
        metrics["frechet_classifier_real"] = distance.compute().item()
    return metrics


def _batches(images: Dataset[Any], count: int) -> DataLoader[Any]:
    """The images, or ``count`` of them; torch's global generator stays as it is."""
    return DataLoader(at_most(images, count), _BATCH, generator=torch.Generator())


class _Picture:
    """A column a class: a held-out image above samples, for as many classes as are legible."""

    def __init__(self, data: DiffusionData, count: int) -> None:
        self.data = data
        drawn = min(data.classes, count)
        columns = min(drawn, _COLUMNS)
        self.labels = [drawn * column // columns for column in range(columns)]
        self.rows = min(_ROWS, max(1, count // data.classes))
        self.samples: dict[int, list[Tensor]] = {label: [] for label in self.labels}

    def add(self, samples: Tensor, labels: Tensor) -> None:
        _collect(self.samples, samples, labels, self.rows)

    def save(self, path: Path) -> None:
        real: dict[int, list[Tensor]] = {label: [] for label in self.labels}
        for images, labels in self.data.val_dataloader():
            _collect(real, images, labels, 1)
        shape = (self.data.channels, self.data.size, self.data.size)
        for images in real.values():
            images += [torch.zeros(shape)] * (1 - len(images))  # a rare class, not held out
        rows = [real[label][0] for label in self.labels]
        for row in range(self.rows):
            rows += [self.samples[label][row] for label in self.labels]
        pictures = self.data.pictures(torch.stack(rows))
        gap = max(1, pictures.shape[-1] // 16)
        grid = make_grid(pictures, len(self.labels), padding=gap, pad_value=1.0)
        _draw(grid, [self.data.class_names[label] for label in self.labels], gap, path)


def _collect(found: dict[int, list[Tensor]], images: Tensor, labels: Tensor, most: int) -> None:
    for image, label in zip(images, labels.tolist(), strict=True):
        if len(found.get(label, range(most))) < most:
            found[label].append(image)


def _draw(grid: Tensor, names: list[str], gap: int, path: Path) -> None:
    """Save the grid with the classes above it, and which rows are real beside it."""
    height, width = grid.shape[1:]
    side = (width - gap) / len(names)
    figure = Figure(figsize=(8, 8 * height / width + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_xticks([side * (i + 0.5) for i in range(len(names))], [n[:12] for n in names])
    axes.set_yticks([side / 2, side * 1.5], ["held out", "samples"])
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=120)
