"""Two phases: their batches, their rates, and training as two loops written out."""

from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

from dyt_bench.plugin.data import ShuffledBatches
from dyt_bench.plugin.domain import TrainingPreset
from dyt_bench.plugin.module import SupervisedModule
from dyt_bench.plugin.phases import (
    Groups,
    PhasedBatches,
    PhasedSamples,
    PretrainedModule,
    phases,
    pretraining_steps,
)
from dyt_bench.plugin.task import Task

TASK = Task(
    domain="d",
    model="m",
    dataset="s",
    steps=10,
    batch_size=4,
    learning_rate=0.1,
    val_every=10,
)
PRESET = TrainingPreset(
    summary="",
    betas=(0.9, 0.999),
    weight_decay=0.2,
    warmup=0.0,
    schedule="linear",
    options={
        "pretraining_share": 0.4,
        "pretraining_rate": 3.0,
        "pretraining_beta2": 0.5,
        "pretraining_weight_decay": 0.1,
        "pretraining_warmup": 0.5,
        "pretraining_final_rate": 0.5,
    },
)


@pytest.mark.parametrize(
    ("steps", "share", "expected"),
    [(10, 0.4, 4), (3, 1 / 3, 1), (100, 0.001, 1), (100, 0.999, 99), (2, 0.5, 1)],
)
def test_a_share_of_the_steps_pretrains_and_each_phase_has_one(steps, share, expected):
    preset = replace(PRESET, options={"pretraining_share": share})
    assert pretraining_steps(replace(TASK, steps=steps, val_every=steps), preset) == expected


@pytest.mark.parametrize(("steps", "share"), [(1, 0.5), (10, 0.0), (10, 1.0)])
def test_a_phase_without_steps_is_an_error(steps, share):
    preset = replace(PRESET, options={"pretraining_share": share})
    with pytest.raises(ValueError, match="need two steps and a pretraining_share between 0 and 1"):
        pretraining_steps(replace(TASK, steps=steps, val_every=steps), preset)


def rates(how, steps):
    """The rates of the first ``steps`` steps."""
    optimizer = how["optimizer"]([nn.Parameter(torch.zeros(1))], lr=how["learning_rate"])
    schedule = how["schedule"](optimizer)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found, optimizer.param_groups[0]


def test_each_phase_has_its_rates_over_its_own_steps():
    before, after = phases(TASK, PRESET)
    seen, group = rates(before, 4)
    # two of four steps up to three times the rate, then linearly down to a half of it
    assert seen == pytest.approx([0.15, 0.3, 0.3, 0.225])
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.5), 0.1)
    seen, group = rates(after, 6)
    # the shortest warm-up is a step, so that five are left to fall
    assert seen == pytest.approx([0.1, 0.1, 0.08, 0.06, 0.04, 0.02])
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.999), 0.2)


def test_batches_are_the_first_phase_s_and_then_all_of_the_second_s():
    before, after = ShuffledBatches(20, 4, seed=1), ShuffledBatches(9, 4, seed=1)
    found = PhasedBatches(3, before, after)
    taken = [found.indices(step).tolist() for step in range(8)]
    assert taken[:3] == [before.indices(step).tolist() for step in range(3)]
    assert taken[3:] == [[20 + i for i in after.indices(step)] for step in range(5)]
    assert len({i for batch in taken[3:5] for i in batch}) == 8  # an epoch repeats no sample
    walked = [batch for _ in range(4) for batch in found]
    assert walked == [[(step, i) for i in batch] for step, batch in enumerate(taken)]
    found.seek(*divmod(5, len(found)))  # as training resumes
    assert next(iter(found)) == [(5, i) for i in taken[5]]


@pytest.mark.parametrize("paired", [True, False])
def test_groups_lie_before_the_samples(paired):
    own = {(7, i): 10 * i for i in range(7)} if paired else [10 * i for i in range(7)]
    groups = Groups(own, 3, paired=paired)  # the seventh is left out
    samples = PhasedSamples(groups, ["x", "y"])
    assert [samples[7, 0].tolist(), samples[7, 1].tolist()] == [[0, 20, 40], [10, 30, 50]]
    assert [samples[7, 2], samples[7, 3]] == ["x", "y"]
    assert len(samples) == 4


class Copying(PretrainedModule, SupervisedModule):
    """Pretrained on returning its input."""

    def pretraining_step(self, batch, index):
        inputs, _ = batch
        return mse_loss(self(inputs), inputs)


def data():
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    return [(x, -2 * x) for x in inputs]


def loop(model, batches, loss, rates, betas, decay):
    """AdamW as its paper has it, decay apart from the gradient; matrices decay."""
    means = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()}
    for step, (batch, rate) in enumerate(zip(batches, rates, strict=True), start=1):
        model.zero_grad()
        loss(model, *batch).backward()
        with torch.no_grad():
            for p, (first, second) in means.items():
                first.lerp_(p.grad, 1 - betas[0])
                second.lerp_(p.grad**2, 1 - betas[1])
                if p.dim() > 1:
                    p.mul_(1 - rate * decay)
                spread = (second / (1 - betas[1] ** step)).sqrt() + 1e-8
                p.sub_(rate / (1 - betas[0] ** step) * first / spread)


def test_training_is_two_loops_one_after_the_other():
    torch.manual_seed(0)
    module = Copying(nn.Linear(3, 3), mse_loss)
    expected = nn.Linear(3, 3)
    expected.load_state_dict(module.model.state_dict())
    before, after = phases(TASK, PRESET)
    module.pretrain_first(4, before, after)
    loader = DataLoader(data(), 4)
    Trainer(
        max_steps=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    ).fit(module, loader, loader)
    assert not module.is_pretraining

    batches = list(loader)
    copy = [0.15, 0.3, 0.3, 0.225]
    loop(expected, batches[:4], lambda m, x, y: mse_loss(m(x), x), copy, (0.9, 0.5), 0.1)
    task = [0.1, 0.1, 0.08, 0.06, 0.04, 0.02]
    loop(expected, batches[4:], lambda m, x, y: mse_loss(m(x), y), task, (0.9, 0.999), 0.2)
    torch.testing.assert_close(module.model.weight, expected.weight)
    torch.testing.assert_close(module.model.bias, expected.bias)


def test_a_module_that_is_not_told_to_pretrain_does_not():
    module = Copying(nn.Linear(3, 3), mse_loss)
    module.log = lambda *_, **__: None
    batch = (torch.ones(2, 3), torch.zeros(2, 3))
    loss = mse_loss(module(batch[0]), batch[1])
    torch.testing.assert_close(module.training_step(batch, 0), loss)
