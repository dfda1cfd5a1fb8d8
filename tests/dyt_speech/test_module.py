"""The pretraining loss: masks, negatives, what is logged, learning, and repeatability."""

import subprocess
import sys
from itertools import islice
from math import isfinite, log

import pytest
import torch
from lightning.pytorch import seed_everything

import dyt
from dyt_speech import domain
from dyt_speech.module import (
    SPAN,
    gumbel_temperature,
    ranked_first,
    sample_negatives,
    span_mask,
)


def build(task, norm="native"):
    """Data and module as the harness builds them, with a log that is a dictionary."""
    seed_everything(task.seed, verbose=False)
    data = domain.build_data(task)
    module = domain.build_module(task, data)
    if norm != "native":
        dyt.convert(module, norm, exclude=domain.models[task.model].exclude)
    module.logged = {}
    module.log = lambda name, value, **options: module.logged.update({name: torch.as_tensor(value)})
    return data, module


def train(batches, module):
    optimizer = module.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = 1e-3  # there is no trainer to move the schedule on
    losses = []
    for batch in batches:
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def validate(waves, module):
    module.eval()
    with torch.no_grad():
        module.validation_step(waves, 0)
    module.train()
    return {name: value.item() for name, value in module.logged.items()}


def test_importing_the_domain_is_cheap():
    script = "import sys, dyt_speech; assert not {'torch', 'soundfile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_masks_are_spans_over_about_half_of_the_frames():
    mask = span_mask(64, 49)
    assert 0.4 < mask.float().mean() < 0.6
    padded = torch.nn.functional.pad(mask.float(), (1, 1))
    edges = padded.diff(dim=1).nonzero()
    starts = edges[padded.diff(dim=1)[tuple(edges.T)] > 0][:, 1]
    ends = edges[padded.diff(dim=1)[tuple(edges.T)] < 0][:, 1]
    assert (ends - starts).min() == SPAN


def test_negatives_are_other_masked_frames_of_the_same_window():
    mask = span_mask(8, 49)
    negatives = sample_negatives(mask, 20)
    assert negatives.shape == (8, 49, 20)
    assert mask.flatten()[negatives].all()
    frame = torch.arange(8 * 49).view(8, 49, 1)
    assert (negatives != frame).all()
    assert (negatives // 49 == torch.arange(8).view(8, 1, 1)).all()


def test_temperature_falls_as_in_the_paper():
    course = [gumbel_temperature(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert course == pytest.approx([2, 1.213, 0.736, 0.5, 0.5], abs=1e-3)


def test_a_frame_ranks_first_when_its_own_code_is_nearest():
    codes = torch.eye(4).view(1, 4, 4)
    mask = torch.ones(1, 4, dtype=torch.bool)
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1], [0, 1]]])
    guessed = torch.stack([codes[0, 0], codes[0, 2], codes[0, 2], codes[0, 3]]).view(1, 4, 4)
    assert ranked_first(guessed, codes, mask, negatives) == 0.75
    assert ranked_first(guessed, torch.ones_like(codes), mask, negatives) == 1.0


def test_the_loss_starts_at_a_blind_guess_and_is_made_of_its_two_terms(task):
    data, module = build(task())
    waves = next(iter(data.val_dataloader()))
    logged = validate(waves, module)
    assert set(logged) == {"val/loss", "val/diversity", "val/perplexity", "val/acc"}
    assert logged["val/loss"] == pytest.approx(log(21), abs=0.3)
    assert logged["val/acc"] < 0.2
    assert logged["val/diversity"] == pytest.approx(1 - logged["val/perplexity"] / 16, abs=1e-4)
    mask, negatives = module.draw(waves)
    output = module(waves, mask, negatives)
    torch.testing.assert_close(output.loss, output.contrastive_loss + 0.1 * output.diversity_loss)


def test_validation_repeats_itself_and_leaves_the_random_state_alone(task):
    data, module = build(task())
    waves = next(iter(data.val_dataloader()))
    before = torch.get_rng_state()
    assert validate(waves, module) == validate(waves, module)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("norm", ["native", "dyt"])
def test_two_runs_lose_the_same_to_the_bit(task, norm):
    def run():
        data, module = build(task(), norm)
        return train(islice(data.train_dataloader(), 4), module)

    losses = run()
    assert losses == run()
    assert all(isfinite(loss) for loss in losses)


def test_every_norm_sees_the_same_other_weights(task):
    native, swapped = (build(task(), norm)[1].state_dict() for norm in ("native", "dyt"))
    shared = [name for name in native if "layer_norm" not in name]
    assert len(native) - len(shared) == 22  # of ten norms and the group norm
    assert all(torch.equal(native[name], swapped[name]) for name in shared)


def test_a_batch_of_the_clips_is_learned_far_below_a_blind_guess(task):
    data, module = build(task())
    losses = train([next(iter(data.train_dataloader()))] * 36, module)
    assert losses[0] > log(21) - 0.2
    assert sum(losses[-4:]) / 4 < log(21) - 0.4
