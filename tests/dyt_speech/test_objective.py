"""The pretext task: masks, negatives, and the loss as transformers has it."""

from math import log

import pytest
import torch

from dyt_speech.models import build
from dyt_speech.objective import (
    contrast,
    gumbel_temperature,
    masked_frames,
    sample_negatives,
    span_mask,
)


@pytest.mark.parametrize(("frames", "length"), [(49, 3), (780, 10)])
def test_masks_are_spans_over_about_half_of_the_frames(frames, length):
    mask = span_mask(64, frames, length)
    assert 0.4 < mask.float().mean() < 0.6
    padded = torch.nn.functional.pad(mask.float(), (1, 1))
    edges = padded.diff(dim=1).nonzero()
    starts = edges[padded.diff(dim=1)[tuple(edges.T)] > 0][:, 1]
    ends = edges[padded.diff(dim=1)[tuple(edges.T)] < 0][:, 1]
    assert (ends - starts).min() == length


def test_frames_are_counted_as_they_are_masked():
    def generators():
        return [torch.Generator().manual_seed(seed) for seed in range(5)]

    masks = [span_mask(1, 49, 3, generator) for generator in generators()]
    counts = [int(mask.sum()) for mask in masks]
    assert len(set(counts)) > 1
    assert masked_frames(49, 3, generators()) == sum(counts)


def test_negatives_are_other_masked_frames_of_the_same_window_all_equally_likely():
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, [1, 2, 4]] = True
    mask[1, [0, 5]] = True
    negatives = sample_negatives(mask, 1_000, torch.Generator().manual_seed(0))
    assert negatives.shape == (2, 6, 1_000)
    for row, own, others in [
        (0, 1, {2, 4}),
        (0, 2, {1, 4}),
        (0, 4, {1, 2}),
        (1, 0, {5}),
        (1, 5, {0}),
    ]:
        counts = negatives[row, own].bincount(minlength=6)
        assert set(counts.nonzero().flatten().tolist()) == others
        assert counts[sorted(others)].float() / 1_000 == pytest.approx(1 / len(others), abs=0.06)


@pytest.mark.parametrize(("updates", "floor", "end"), [(400_000, 0.5, 0.5), (250_000, 0.1, 0.573)])
def test_temperature_falls_as_in_the_paper(updates, floor, end):
    course = [gumbel_temperature(p, updates=updates, floor=floor) for p in (0.0, 0.25, 1.0)]
    halfway = 2 * 0.999995 ** (updates / 4)
    assert course == pytest.approx([2, halfway, end], abs=1e-3)


def test_a_frame_ranks_first_when_its_own_code_is_nearest():
    codes = torch.eye(4).view(1, 4, 4)
    mask = torch.ones(1, 4, dtype=torch.bool)
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1], [0, 1]]])
    guessed = torch.stack([codes[0, 0], codes[0, 2], codes[0, 2], codes[0, 3]]).view(1, 4, 4)
    assert contrast(guessed, codes, mask, negatives).accuracy == 0.75


def test_chance_falls_with_the_number_of_codes_in_use():
    mask = torch.ones(1, 6, dtype=torch.bool)
    negatives = sample_negatives(mask, 20)
    guessed = torch.zeros(1, 6, 4)
    all_different = contrast(guessed, torch.randn(1, 6, 4), mask, negatives)
    assert all_different.chance == pytest.approx(log(21))
    assert all_different.loss == pytest.approx(log(21))
    collapsed = contrast(guessed, torch.ones(1, 6, 4), mask, negatives)
    assert collapsed.chance == collapsed.loss == 0


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_and_its_gradient_are_transformers_own(training):
    torch.manual_seed(0)
    model = build("wav2vec2").train(training)
    waves = torch.randn(3, 16_000)
    mask = span_mask(3, 49, 3)
    negatives = sample_negatives(mask, 20)

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    rows = 49 * torch.arange(3).view(3, 1, 1)  # transformers counts frames through the batch
    torch.manual_seed(1)
    theirs = model(waves, mask_time_indices=mask, sampled_negative_indices=negatives + rows)
    torch.manual_seed(1)
    hidden = model.wav2vec2(waves, mask_time_indices=mask)
    predicted = model.project_hid(hidden.last_hidden_state)
    codes, _ = model.quantizer(model.dropout_features(hidden.extract_features), mask)
    ours = contrast(predicted, model.project_q(codes), mask, negatives).loss
    torch.testing.assert_close(ours, theirs.contrastive_loss / mask.sum())
    expected = gradients(theirs.contrastive_loss / mask.sum())
    torch.manual_seed(1)
    hidden = model.wav2vec2(waves, mask_time_indices=mask)
    predicted = model.project_hid(hidden.last_hidden_state)
    codes, _ = model.quantizer(model.dropout_features(hidden.extract_features), mask)
    got = gradients(contrast(predicted, model.project_q(codes), mask, negatives).loss)
    assert got.keys() == expected.keys()
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5)


def test_the_loss_is_computed_in_float32_under_autocast():
    codes, guessed = torch.randn(2, 2, 30, 8)
    mask = span_mask(2, 30, 3)
    negatives = sample_negatives(mask, 20)
    exact = contrast(guessed, codes, mask, negatives).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrast(guessed, codes, mask, negatives).loss, exact)
