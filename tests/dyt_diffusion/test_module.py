"""Training, validation, the swap of the norms, and sampling."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import dyt
from dyt_diffusion import domain


@pytest.fixture
def build(task):
    def build(norm="native", **changes):
        data = domain.build_data(task(**changes))
        torch.manual_seed(changes.get("seed", 0))
        module = domain.build_module(task(**changes), data)
        if norm != "native":
            dyt.convert(module, norm, exclude=domain.models["dit"].exclude)
        module.logged = {}
        module.log = lambda name, value, **_: module.logged.setdefault(name, []).append(value)
        module.log_dict = lambda values, **_: module.logged.update(values)
        return module, data

    return build


def train(module, data, steps):
    """The losses of so many steps, as the harness takes them."""
    torch.manual_seed(0)
    configured = module.train().configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    losses = []
    for index, batch in zip(range(steps), data.train_dataloader(), strict=False):
        loss = module.training_step(batch, index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def validate(module, data, batches=2):
    losses = []
    for index, batch in zip(range(batches), data.val_dataloader(), strict=False):
        module.eval().validation_step(batch, index)
        losses.append(
            {name: float(value) for name, value in module.logged.items() if "val" in name}
        )
    return losses


def give_the_output_a_say(module):
    """The output layer starts at zero: without this a fresh model answers nothing else."""
    torch.manual_seed(1)
    for linear in (module.model.proj_out_1, module.model.proj_out_2):
        nn.init.normal_(linear.weight, std=0.1)


def test_importing_the_domain_is_cheap():
    script = "import sys, dyt_diffusion; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_norm_of_the_paper_is_swapped_and_no_other(build):
    module, _ = build()
    blocks = [f"model.transformer_blocks.{block}" for block in range(4)]
    sites = [f"{block}.{norm}" for block in blocks for norm in ("norm1.norm", "norm3")]
    assert [site.name for site in dyt.audit(module)] == [*sites, "model.norm_out"]
    dyt.convert(module)
    swapped = [name for name, m in module.named_modules() if isinstance(m, dyt.DynamicTanh)]
    assert swapped == [*sites, "model.norm_out"]
    assert not any(isinstance(m, nn.LayerNorm) for m in module.modules())
    assert module.model.norm_out.weight is None  # tanh(alpha x) alone, as the norm was


def test_two_runs_are_bit_identical(build):
    runs = []
    for _ in range(2):
        module, data = build(seed=3)
        runs.append((train(module, data, 5), validate(module, data)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("norm", ["native", "dyt"])
def test_loss_falls_on_the_digits(build, norm):
    module, data = build(norm)
    first = validate(module, data)[-1]["val/loss"]
    losses = train(module, data, 20)
    assert losses[0] == pytest.approx(1, abs=0.15)  # it predicts zero noise
    assert first == pytest.approx(1, abs=0.1)
    assert validate(module, data)[-1]["val/loss"] < 0.8
    logged = [torch.stack(module.logged[name]) for name in ("train/loss", "train/vlb")]
    assert (logged[0] + logged[1]).tolist() == losses


def test_alpha_has_no_gradient_while_what_follows_it_is_zero(build):
    module, data = build("dyt")
    alphas = [m.alpha for m in module.modules() if isinstance(m, dyt.DynamicTanh)]
    module.training_step(next(iter(data.train_dataloader())), 0).backward()
    assert not any(alpha.grad.any() for alpha in alphas)
    module.zero_grad()
    train(module, data, 4)
    assert all(alpha.grad.any() for alpha in alphas)


def test_a_tenth_of_the_training_labels_is_dropped_and_all_timesteps_occur(build):
    module, _ = build()
    seen = []
    module.forward = lambda noisy, *rest: seen.append(rest) or (noisy, torch.zeros_like(noisy))
    torch.manual_seed(0)
    module.training_step((torch.zeros(4000, 1, 8, 8), torch.full((4000,), 7)), 0)
    ((timesteps, labels),) = seen
    assert set(labels.tolist()) == {7, 10}
    assert (labels == 10).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (timesteps.min(), timesteps.max()) == (0, 999)


def test_validation_repeats_itself_and_leaves_the_random_numbers_alone(build):
    module, data = build()
    give_the_output_a_say(module)
    losses = validate(module, data)
    torch.manual_seed(7)
    assert validate(module, data) == losses
    batch = next(iter(data.val_dataloader()))
    before = torch.get_rng_state()
    module.validation_step(batch, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert losses[0].keys() == {"val/loss", "val/loss_low", "val/loss_high", "val/vlb"}
    parts = losses[0]["val/loss_low"] + losses[0]["val/loss_high"]
    assert losses[0]["val/loss"] == pytest.approx(parts / 2)


def test_validation_spreads_the_timesteps_evenly_and_keeps_every_label(build):
    module, data = build()
    seen = []
    module.forward = lambda noisy, *rest: seen.append(rest) or (noisy, torch.zeros_like(noisy))
    images, labels = next(iter(data.val_dataloader()))
    module.validation_step((images[:10], labels[:10]), 0)
    ((timesteps, shown),) = seen
    assert timesteps.tolist() == list(range(25, 1000, 50))
    assert shown.tolist() == labels[:10].tolist() * 2


def test_samples_are_images_that_the_generator_decides(build):
    module, _ = build()
    give_the_output_a_say(module)
    labels = torch.tensor([3, 1, 4, 10])

    def sample(seed, labels=labels, guidance=2.0):
        generator = torch.Generator().manual_seed(seed)
        return module.sample(labels, steps=4, guidance=guidance, generator=generator)

    before = torch.get_rng_state()
    images = sample(0)
    assert images.shape == (4, 1, 8, 8)
    assert not images.requires_grad
    assert images.abs().max() <= 1
    assert torch.equal(images, sample(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(images, sample(1))
    assert not torch.equal(images, sample(0, labels.flip(0)))
    torch.testing.assert_close(sample(0, guidance=5.0)[3], sample(0, guidance=0.0)[3])  # no label


def test_guidance_of_one_is_the_conditional_model(build):
    module, _ = build()
    give_the_output_a_say(module)
    asked = []
    forward = module.forward
    module.forward = lambda *arguments: asked.append(arguments[2]) or forward(*arguments)
    labels = torch.tensor([3, 1])

    def sample(guidance):
        return module.sample(labels, 3, guidance, torch.Generator().manual_seed(0))

    plain = sample(1)
    assert [seen.tolist() for seen in asked] == [[3, 1]] * 3
    torch.testing.assert_close(sample(1 + 1e-6), plain, atol=1e-4, rtol=0)
    assert not torch.equal(sample(4), plain)


def test_samples_are_the_images_when_the_noise_is_known(build):
    module, data = build()
    images = next(iter(data.train_dataloader()))[0]

    def perfect(noisy, timesteps, labels):
        shares = module.diffusion.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - shares.sqrt() * images) / (1 - shares).sqrt()
        return noise, torch.full_like(noise, 0.5)

    module.forward = perfect
    for steps in (2, 7, 50):
        drawn = module.sample(torch.arange(16) % 10, steps=steps)
        torch.testing.assert_close(drawn, images, atol=1e-3, rtol=0)


@pytest.mark.parametrize("steps", [0, -10, 1, 1001])
def test_sampling_refuses_steps_out_of_range(build, steps):
    module, _ = build()
    with pytest.raises(ValueError, match=f"steps must be from 2 to 1,000, got {steps}"):
        module.sample(torch.arange(2), steps=steps)


def test_the_paper_s_recipe_starts_every_alpha_with_a_gradient(build):
    module, data = build()
    dyt.convert(module, "dyt", recipe="paper")
    alphas = [m.alpha for m in module.modules() if isinstance(m, dyt.DynamicTanh)]
    module.training_step(next(iter(data.train_dataloader())), 0).backward()
    assert len(alphas) == 9
    assert all(alpha.grad.any() for alpha in alphas)


def test_the_large_preset_holds_its_rate(task, build):
    module, _ = build(training="dit", learning_rate=1e-4)
    configured = module.configure_optimizers()
    (group,) = configured["optimizer"].param_groups[:1]
    assert group["betas"] == (0.9, 0.999)
    assert all(group["weight_decay"] == 0 for group in configured["optimizer"].param_groups)
    factor = configured["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert {factor(step) for step in (0, 10, 20)} == {1.0}
