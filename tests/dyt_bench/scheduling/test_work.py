"""What a step computes and holds, counted on tensors without content."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.scheduling.work import Count, work_of


def counted(call):
    with FakeTensorMode(), Count() as count:
        call()
    return count


def test_memory_is_that_of_the_tensors_alive_at_once():
    def chain():
        x = torch.empty(1000)
        for _ in range(5):
            x = x + 1  # two at a time

    count = counted(chain)
    assert count.peak == 2 * 4000
    assert count.alive == 0


def test_what_backward_needs_is_held():
    def forward():
        x = torch.empty(1000, requires_grad=True)
        y = x.exp().exp().exp()
        assert count.alive == 4 * 4000
        y.sum().backward()

    with FakeTensorMode(), Count() as count:
        forward()


def test_a_step_that_asks_for_values_goes_on():
    def step():
        x = torch.empty(10, 4)
        mask = x[:, 0] > 0
        assert x[mask].shape == (5, 4)
        assert not bool(x.sum() > 0)
        assert float(x.sum()) == 1.0
        assert int(torch.tensor(7)) == 7  # known without content

    counted(step)


def task(domain, model, dataset, **more):
    options = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3, "val_every": 2, **more}
    return Task(domain=domain, model=model, dataset=dataset, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "each"),
    [
        # bytes of a parameter: weight, gradient and two moments; and a moving average
        (task("vision", "vit", "digits"), 16),
        (task("vision-ssl", "mae", "digits"), 16),
        (task("vision-ssl", "dino", "digits"), 16),
        (task("diffusion", "dit", "digits"), 20),
        (task("speech", "wav2vec2", "prompts"), 16),
        (task("dna", "hyena-w64", "species"), 16),
        (task("llm", "gpt2", "kjv"), 16),  # whose embeddings are tied
        (task("dna-finetuning", "hyena-w64", "species"), 16),
    ],
    ids=lambda value: getattr(value, "domain", ""),
)
def test_every_domain_has_a_stand_in_of_the_datas_shapes(of, each):
    from dyt_bench.discovery.resolve import resolve

    work = work_of(Run(task=of))
    parts = resolve(Run(task=of))
    real = parts.domain.build_module(of, parts.domain.build_data(of))
    assert work.parameters == sum(weight.numel() for weight in real.parameters())
    assert work.state == pytest.approx(each * work.parameters, rel=0.02)
    assert work.peak >= work.state
    assert work.flops > 0


@pytest.mark.slow
def test_a_large_model_takes_no_memory_and_no_data():
    of = task("llm", "llama-7b", "openwebtext", batch_size=1, training="llama-bf16")
    work = work_of(Run(task=of, variant=Variant(name="dyt")))
    assert 6.5e9 < work.parameters < 7.5e9
    # Six FLOP a parameter and token, and attention.
    assert work.flops == pytest.approx(6 * work.parameters * 4096, rel=0.2)
    assert work.state == pytest.approx(8 * work.parameters, rel=0.05)  # all in bfloat16


@pytest.mark.slow
def test_recomputed_layers_hold_less_and_compute_more():
    of = task("llm", "llama-7b", "openwebtext", batch_size=1, training="llama")
    kept = work_of(Run(task=of))
    recomputed = work_of(Run(task=replace(of, training="llama-recomputed")))
    assert recomputed.state == kept.state
    assert recomputed.peak - kept.state < 0.2 * (kept.peak - kept.state)
    # All but the embedding and the head, whose forward pass is not repeated: a third at most.
    assert 1.2 * kept.flops < recomputed.flops < 4 / 3 * kept.flops
