"""Metrics taken once at the end: above all, whether a model agrees about the two strands."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dyt_dna.bases import COMPLEMENT, UNKNOWN, reverse_complement
from dyt_dna.data.datamodule import GenomeData, LabelledData
from dyt_dna.models.caduceus import Caduceus
from dyt_dna.module import Classifier, LanguageModel, target_losses
from dyt_dna.reference import gc_content


def evaluate(
    module: LanguageModel | Classifier, data: GenomeData | LabelledData
) -> Mapping[str, float]:
    """`language_model` or `classifier`, whichever ``module`` is."""
    if isinstance(module, Classifier):
        assert isinstance(data, LabelledData)
        return classifier(module, data)
    assert isinstance(data, GenomeData)
    return language_model(module, data)


@torch.no_grad()
def language_model(module: LanguageModel, data: GenomeData) -> Mapping[str, float]:
    """On the validation windows:

    - ``rc_gap``: nats a base, the mean over windows of the difference between the losses of the
      two strands;
    - for Caduceus also ``rc_agreement``, the mean over targets of ``sum min(p, q)``, where p are
      the probabilities from the given strand and q those from the other, complemented: 1 means
      equal; and ``loss_conjoined``, from the mean of the two strands' logits, as "ph" is used
      after training.
    """
    model, gaps, agreements, losses = module.model, [], [], []
    for batch in data.val_dataloader():
        inputs, targets, _ = (part.to(module.device) for part in batch)
        logits = module(inputs)
        if not isinstance(model, Caduceus):
            other_inputs, other_targets = _next_of_other_strand(inputs, targets)
            other = module(other_inputs)
        else:
            other_inputs, other_targets = map(reverse_complement, (inputs, targets))
            other = module(other_inputs)
            there = other.flip(1)[..., torch.tensor(COMPLEMENT, device=other.device)]
            known = targets != UNKNOWN
            shared = torch.minimum(logits.softmax(-1), there.softmax(-1)).sum(-1)
            agreements.append(shared[known])
            losses.append(target_losses(model.conjoined(inputs), targets)[known])
        gaps.append((_mean(logits, targets) - _mean(other, other_targets)).abs())
    found = {"rc_gap": float(torch.cat(gaps).nanmean())}
    if agreements:
        found["rc_agreement"] = float(torch.cat(agreements).mean())
        found["loss_conjoined"] = float(torch.cat(losses).mean())
    return found


@torch.no_grad()
def classifier(module: Classifier, data: LabelledData) -> Mapping[str, float]:
    """On the validation sequences:

    - ``rc_agreement``: share of them with the same class from either strand;
    - ``acc_conjoined``: accuracy of the mean of both strands' logits;
    - ``acc_gc``: accuracy of predicting classes from their GC content alone.
    """
    same, right = [], []
    for batch in data.val_dataloader():
        tokens, classes = (part.to(module.device) for part in batch)
        given, other = module(tokens), module(reverse_complement(tokens))
        same.append(given.argmax(-1) == other.argmax(-1))
        right.append((given + other).argmax(-1) == classes)
    return {
        "rc_agreement": float(torch.cat(same).float().mean()),
        "acc_conjoined": float(torch.cat(right).float().mean()),
        "acc_gc": gc_content(data)[1],
    }


def _next_of_other_strand(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets of next bases, read from the other strand of the same window."""
    window = reverse_complement(torch.cat([inputs[:, :1], targets], dim=1))
    return window[:, :-1], window[:, 1:]


def _mean(logits: Tensor, targets: Tensor) -> Tensor:
    """(B,) nats a base; NaN where a window has no target."""
    return target_losses(logits, targets).sum(dim=1) / (targets != UNKNOWN).sum(dim=1)
