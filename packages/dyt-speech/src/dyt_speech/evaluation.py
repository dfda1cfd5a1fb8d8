"""Metrics taken once at the end: a linear probe of the features, and which codes are in use."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dyt_speech.data.datamodule import SpeechData, Windows
from dyt_speech.module import Pretraining
from dyt_speech.reference import mel_features

PROBE_WINDOWS = 512  # at most, of a second each
FOLDS = 5
_BATCH = 32


def evaluate(module: Pretraining, data: SpeechData, folder: Path) -> Mapping[str, float]:
    """Results of the linear probe, the number of codes in use, and of recordings left out.

    Draws ``codes.png``, how often each code is used, into ``folder``.
    """
    with torch.no_grad():
        usage = code_usage(module, data)
        _draw(usage, folder / "codes.png")
        return {
            **linear_probe(module, data),
            "codes_used": float((usage > 0).sum()),
            "recordings_left_out": float(data.left_out),
        }


def linear_probe(module: Pretraining, data: SpeechData) -> dict[str, float]:
    """How well a linear classifier predicts a recording's label from one second of features.

    Logistic regression on the standardised mean over frames of the encoder's output, without
    masks; cross-validated, so that no recording is both fitted and scored. ``probe_acc`` is the
    share of windows classified right, ``probe_mel`` the same from `mel_features` in their place,
    ``probe_majority`` what the most frequent label reaches. Pretraining has seen no label. Empty
    unless two labels have two recordings each.
    """
    recordings = Counter(label for _, label in data.labelled)
    labels = {recording: label for recording, label in data.labelled if recordings[label] > 1}
    labels = {recording: label for recording, label in labels.items() if label}
    if len(set(labels.values())) < 2:
        return {}
    windows = Windows(data.samples, list(labels), seconds=1.0, hop=1.0)
    count = min(len(windows), PROBE_WINDOWS)
    chosen = [number * len(windows) // count for number in range(count)]
    sources = [windows.place(index)[0] for index in chosen]
    wanted = np.array([labels[recording] for recording in sources])
    groups = np.array([recording.first for recording in sources])
    frequent = Counter(wanted.tolist()).most_common()
    folds = min(FOLDS, min(len(set(groups[wanted == label])) for label, _ in frequent))
    if folds < 2 or len(frequent) < 2:
        return {}

    def accuracy(features_of: Callable[[torch.Tensor], NDArray[np.float32]]) -> float:
        parts = (torch.stack([windows[index] for index in batch]) for batch in _batches(chosen))
        guessed = cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            np.concatenate([features_of(part) for part in parts]),
            wanted,
            groups=groups,
            cv=StratifiedGroupKFold(folds),
        )
        return float((guessed == wanted).mean())

    return {
        "probe_acc": accuracy(partial(_mean_features, module)),
        "probe_mel": accuracy(mel_features),
        "probe_majority": frequent[0][1] / count,
        "probe_windows": float(count),
    }


def code_usage(module: Pretraining, data: SpeechData) -> NDArray[np.float64]:
    """(codebooks, entries) float64: how often each code is chosen for a validation frame."""
    quantizer = module.model.quantizer
    counts = torch.zeros(quantizer.num_groups, quantizer.num_vars, dtype=torch.float64)
    for waves in data.val_dataloader():
        features = module.model.wav2vec2(waves.to(module.device)).extract_features
        scores = quantizer.weight_proj(features).unflatten(-1, counts.shape)
        chosen = scores.argmax(-1).flatten(0, 1).cpu()  # (frames, codebooks)
        for group, entries in enumerate(chosen.T):
            counts[group] += torch.bincount(entries, minlength=counts.shape[1])
    return counts.numpy()


def _mean_features(module: Pretraining, waves: torch.Tensor) -> NDArray[np.float32]:
    hidden = module.model.wav2vec2(waves.to(module.device)).last_hidden_state
    mean: NDArray[np.float32] = hidden.mean(1).float().cpu().numpy()
    return mean


def _batches(indices: list[int]) -> list[list[int]]:
    return [indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH)]


def _draw(usage: NDArray[np.float64], path: Path) -> None:
    figure = Figure(figsize=(6.4, 1.8 * len(usage)), layout="constrained")
    panels = figure.subplots(len(usage), sharex=True, squeeze=False)[:, 0]
    for number, (panel, counts) in enumerate(zip(panels, usage, strict=True)):
        share = np.sort(counts / counts.sum())[::-1]
        panel.bar(range(len(share)), share, width=1.0, edgecolor="white", linewidth=0.3)
        panel.axhline(1 / len(share), color="black", linestyle=":", linewidth=1)
        used = np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())
        panel.set_title(f"codebook {number + 1}: perplexity {used:.1f} of {len(share)}")
        panel.set_ylabel("share of frames")
    panels[-1].set_xlabel("codes, the most frequent first; dotted: all equally often")
    figure.savefig(path, dpi=120)
