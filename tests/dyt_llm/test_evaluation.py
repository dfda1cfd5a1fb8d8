"""Metrics taken once: use of context, and the loss by place in the window."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from dyt_bench.plugin.task import Task
from dyt_llm import domain
from dyt_llm.evaluation import loss_by_position
from dyt_llm.tasks import build_data


@pytest.fixture(scope="module")
def made(task: Callable[..., Task]) -> tuple:
    """A task of a few files, its data, and an untrained module."""
    few = task("stdlib")
    data = build_data(few, domain.datasets["stdlib"].files(None)[:12])
    torch.manual_seed(0)
    return few, data, domain.build_module(few, data).eval()


def test_what_is_measured_once(made: tuple, tmp_path: Path) -> None:
    task, data, module = made
    figures = domain.evaluate(task, module, data, tmp_path)
    accuracy = {name: value for name, value in figures.items() if name.endswith("shot")}
    assert len(accuracy) == 6
    assert all(0 <= value <= 1 for value in accuracy.values())
    assert figures["few_shot_chance"] == 0.25
    (picture,) = tmp_path.iterdir()
    assert picture.name == "in_context.png"
    with Image.open(picture) as image:
        assert image.size[0] > 500


def test_loss_by_position_is_the_validation_loss_laid_out(made: tuple) -> None:
    _, data, module = made
    windows = data.val_windows()[:20]
    with torch.no_grad():
        mean = module.token_nats(windows).mean()
    torch.testing.assert_close(loss_by_position(module, windows).mean(), mean)
