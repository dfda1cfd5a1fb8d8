"""Every head trains, converted and calibrated, and is saved for others."""

import json

import pytest
import torch

import dyt
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Run, Variant
from dyt_bench.training.build import build, with_logging_off
from dyt_pretrained import classification, language, regression
from dyt_pretrained.module import NatsPerToken

CALIBRATED = Variant(name="dyt", recipe="calibrated")


@pytest.fixture
def tasks(task, bert, gpt2, timm_vit, reviews, tagged, squares):
    text = {"checkpoint": bert, "path": reviews}
    lists = {"label": "tags", "text": "words"}
    images = {"checkpoint": timm_vit, "path": squares, "dataset": "images"}
    return {
        "sequence-classification": task(**text, options={"label": "mood"}),
        "token-classification": task(
            model="token-classification", checkpoint=bert, path=tagged, options=lists
        ),
        "image-classification": task(model="image-classification", **images),
        "regression": task(
            domain="pretrained-regression", model="regression", **text, options={"label": "stars"}
        ),
        "masked-lm": task(domain="pretrained-lm", model="masked-lm", **text),
        "causal-lm": task(domain="pretrained-lm", model="causal-lm", checkpoint=gpt2, path=reviews),
    }


DOMAINS = {d.name: d for d in (classification, regression, language)}
HEADS = [head for domain in DOMAINS.values() for head in domain.models]


def built(task, variant=CALIBRATED):
    data, module, _ = build(resolve(Run(task=task, variant=variant), DOMAINS[task.domain]))
    with_logging_off(module)
    return data, module


def loss(data, module):
    return module.training_step(next(iter(data.train_dataloader())), 0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.filterwarnings("ignore::dyt.CalibrationWarning")
def test_a_head_learns(head, tasks):
    data, module = built(tasks[head])
    assert module.training
    assert all(m.training for m in module.model.modules())
    assert dyt.alphas(module)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3)
    batch = next(iter(data.train_dataloader()))
    losses = []
    for _ in range(40):
        torch.manual_seed(0)
        value = module.training_step(batch, 0)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.filterwarnings("ignore::dyt.CalibrationWarning")
def test_calibration_fits_the_trained_norms(tasks):
    """Closer to the native model than the plain swap, as a trained model has it."""
    task = tasks["masked-lm"]
    outputs = []
    for variant in (Variant(), Variant(name="dyt"), CALIBRATED):
        data, module = built(task, variant)
        inputs, _ = next(iter(data.val_dataloader()))
        with torch.no_grad():
            outputs.append(module.eval()(inputs))
    native, plain, calibrated = outputs
    assert (calibrated - native).square().mean() < (plain - native).square().mean()
    assert not any(isinstance(m, dyt.ScaledEmbedding) for m in module.modules())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.filterwarnings("ignore::dyt.CalibrationWarning")
def test_the_trained_model_is_opened_by_dyt_load(head, tasks, tmp_path):
    task = tasks[head]
    data, module = built(task)
    module.eval()
    inputs, _ = next(iter(data.val_dataloader()))
    DOMAINS[task.domain].save_model(task, module, data, tmp_path)
    given = None
    if head == "image-classification":
        import timm

        config = json.loads((tmp_path / "config.json").read_text())
        assert config["num_classes"] == 2
        given = timm.create_model(f"local-dir:{task.checkpoint}", num_classes=2)
        found = dyt.load(tmp_path, given).eval()
        assert torch.equal(found(inputs["pixel_values"]), module(inputs))
        return
    found = dyt.load(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
    logits = found(**inputs).logits
    expected = module(inputs)
    if head == "regression":
        logits = logits.squeeze(-1)
        assert json.loads((tmp_path / "scale.json").read_text())["std"] == data.samples.std
    elif head != "sequence-classification":
        logits = logits.transpose(1, 2)
    assert torch.equal(logits, expected)


def test_a_tokenizer_without_mask(task, gpt2, reviews):
    own = task(domain="pretrained-lm", model="masked-lm", checkpoint=gpt2, path=reviews)
    with pytest.raises(DataError, match="cannot be loaded for 'masked-lm' by transformers"):
        built(own)


def test_nats_weigh_every_token_equally():
    metric = NatsPerToken()
    logits = torch.randn(2, 5, 3)
    targets = torch.tensor([[1, 2, -100], [3, -100, -100]])
    metric.update(logits[:1], targets[:1])
    metric.update(logits[1:], targets[1:])
    expected = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100)
    torch.testing.assert_close(metric.compute(), expected)


def test_validation_masks_the_same_tokens_in_every_pass(tasks):
    data, module = built(tasks["masked-lm"], Variant())
    batch = next(iter(data.val_dataloader()))
    seen = []
    for _ in range(2):
        module.on_validation_epoch_start()
        seen.append(module._masked(batch, module.random))
    assert torch.equal(seen[0][0]["input_ids"], seen[1][0]["input_ids"])
    hidden = (seen[0][1] != -100).sum() / (batch[1] != -100).sum()
    assert 0.02 < hidden < 0.4
