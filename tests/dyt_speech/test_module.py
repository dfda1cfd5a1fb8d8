"""Pretraining: what is logged, what a preset changes, learning, and repeatability."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from math import isfinite, log
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import seed_everything

import dyt
from dyt_bench.plugin.noise import places
from dyt_bench.training.draws import BySample
from dyt_speech import domain
from dyt_speech.tasks import build_module


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


def test_the_loss_starts_at_a_blind_guess_and_is_made_of_its_two_terms(task):
    data, module = build(task())
    waves = next(iter(data.val_dataloader()))
    logged = validate(waves, module)
    names = {"loss", "chance", "acc", "perplexity", "diversity", "objective_bits"}
    assert set(logged) == {f"val/{name}" for name in names}
    assert logged["val/loss"] == pytest.approx(log(21), abs=0.3)
    assert logged["val/chance"] <= log(21)
    assert logged["val/acc"] < 0.2
    assert logged["val/diversity"] == pytest.approx(1 - logged["val/perplexity"] / 16, abs=1e-4)
    objective = logged["val/loss"] + 0.1 * logged["val/diversity"]
    assert logged["val/objective_bits"] == pytest.approx(objective / log(2), abs=1e-4)


def test_the_objective_is_transformers_own_with_the_diversity_term(task):
    data, module = build(task())
    waves = next(iter(data.val_dataloader()))
    mask, negatives = module.eval().draw(waves)
    rows = 49 * torch.arange(len(waves)).view(-1, 1, 1)
    theirs = module.model(waves, mask_time_indices=mask, sampled_negative_indices=negatives + rows)
    ours = module.objective(module(waves, mask, negatives))
    torch.testing.assert_close(ours, theirs.loss / mask.sum())


def test_base_restrains_the_feature_extractor(task):
    def gradients(**options):
        seed_everything(0, verbose=False)
        preset = domain.trainings["default"]
        preset = replace(preset, options={**preset.options, **options})
        module = build_module(task(), preset).eval()
        losses = module(waves, mask, negatives)
        module.objective(losses).backward()
        extractor = module.model.wav2vec2.feature_extractor
        inside = [p.grad for p in extractor.parameters()]
        return (
            losses,
            torch.cat([g.flatten() for g in inside]),
            module.model.project_hid.weight.grad,
        )

    waves = torch.randn(2, 16_000)
    _, module = build(task())
    mask, negatives = module.draw(waves)
    free, inside, outside = gradients()
    assert free.penalty == 0
    scaled, inside_scaled, outside_scaled = gradients(extractor_gradient=0.1)
    torch.testing.assert_close(inside_scaled, 0.1 * inside)
    torch.testing.assert_close(outside_scaled, outside)
    features = module.eval().model.wav2vec2.feature_extractor(waves)
    torch.testing.assert_close(scaled.penalty, features.pow(2).mean())
    _, inside_penalised, _ = gradients(feature_penalty=10.0)
    assert not torch.allclose(inside_penalised, inside)


def test_the_papers_preset_trains_on_crops_of_any_length(task):
    chosen = task(training="base")
    module = build_module(chosen, domain.training(chosen))
    module.log = lambda *args, **options: None
    module._trainer = SimpleNamespace(global_step=0)
    assert module.units_per_sample == 16
    for samples in (32_000, 41_000):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = module.training_step(torch.randn(2, samples), 0)
        loss.backward()
        assert log(2) < loss < 30
    optimizer = module.configure_optimizers()["optimizer"]
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.98)}


def test_a_collapsed_codebook_is_named_in_the_log(task, caplog):
    data, module = build(task())
    torch.nn.init.zeros_(module.model.quantizer.weight_proj.weight)
    logged = validate(next(iter(data.val_dataloader())), module)
    assert logged["val/perplexity"] == pytest.approx(2)  # one code in each of two codebooks
    assert logged["val/chance"] == 0
    module._trainer = SimpleNamespace(callback_metrics=logged, global_step=10)
    module.on_validation_end()
    assert "step 10: the codebook has collapsed" in caplog.text


def test_a_loss_no_better_than_a_blind_guess_is_named_at_the_end(task, caplog):
    _, module = build(task())
    metrics = {"val/loss": torch.tensor(2.98), "val/chance": torch.tensor(2.981)}
    module._trainer = SimpleNamespace(callback_metrics=metrics, global_step=10)
    module.on_validation_end()
    assert not caplog.text
    module._trainer.global_step = 20
    module.on_validation_end()
    assert "val/loss 2.98 is that of a blind guess" in caplog.text
    caplog.clear()
    metrics["val/loss"] -= 0.1
    module.on_validation_end()
    assert not caplog.text


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


@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_minimises_the_same(task, parts):
    """Masks of all rows count alike, and groups of four samples have one diversity."""

    def step(parts):
        _, module = build(task())
        module._trainer = SimpleNamespace(global_step=3, accumulate_grad_batches=parts)
        losses = []
        for index, part in enumerate(waves.chunk(parts)):
            torch.manual_seed(1)
            with BySample(places(module, index, len(part)), len(waves)):
                losses.append(module.training_step(part, index))
        mean = torch.stack(losses).mean()
        mean.backward()
        return mean.item(), module.model.project_hid.weight.grad, module.model.quantizer

    torch.manual_seed(0)
    waves = torch.randn(16, 16_000)
    loss, gradient, quantizer = step(1)
    found, own_gradient, own_quantizer = step(parts)
    assert found == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(own_gradient, gradient, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(
        own_quantizer.weight_proj.weight.grad,
        quantizer.weight_proj.weight.grad,
        rtol=1e-3,
        atol=1e-6,
    )


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
