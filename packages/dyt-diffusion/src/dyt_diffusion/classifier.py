"""A small classifier of a data set's images, whose features compare samples with real images."""

from collections.abc import Sized
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, RandomSampler

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.files import digest_files
from dyt_diffusion.data.datamodule import DiffusionData

_STEPS = 500
_BATCH = 64
_RATE = 3e-3  # the peak of one cycle


class Features(nn.Sequential):
    """Three convolutions and the mean over places: (B, C, H, W) -> (B, 64)."""

    num_features = 64

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = []
        for width, stride in ((32, 1), (64, 2), (self.num_features, 2)):
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class FeatureClassifier(nn.Module):
    """Images (B, C, H, W) -> logits (B, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = Features(channels)
        self.head = nn.Linear(Features.num_features, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def trained_classifier(data: DiffusionData, device: torch.device) -> FeatureClassifier:
    """The classifier of ``data``, in eval mode: trained once, then read from the cache.

    It is trained on all training images, whatever part of them the run trains on, and always in
    the same way; torch's global generator is left as it was.

    Raises:
        DataError: the cache cannot be written.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = FeatureClassifier(data.channels, data.classes).to(device)

        def make(path: Path) -> None:
            _train(classifier, data)
            with path.open("wb") as file:
                torch.save(classifier.state_dict(), file)

        code = digest_files([Path(__file__)])
        file = derived(f"diffusion/classifier-{data.key}-{code}-{torch.__version__}.pt", make)
    classifier.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return classifier.eval().requires_grad_(False)


def _train(classifier: FeatureClassifier, data: DiffusionData) -> None:
    device = classifier.head.weight.device
    sampler = RandomSampler(
        cast(Sized, data.plain),
        num_samples=_STEPS * _BATCH,
        generator=torch.Generator().manual_seed(0),
    )
    optimizer = AdamW(classifier.parameters())
    schedule = OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
    for images, labels in DataLoader(data.plain, _BATCH, sampler=sampler):
        loss = cross_entropy(classifier(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(classifier: FeatureClassifier, data: DiffusionData) -> float:
    """Its share of right answers on the held-out images."""
    device = classifier.head.weight.device
    right = total = 0
    for images, labels in data.val_dataloader():
        right += int((classifier(images.to(device)).argmax(1).cpu() == labels).sum())
        total += len(labels)
    return right / total
