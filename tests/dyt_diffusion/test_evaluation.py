"""The classifier, the Fréchet distance in its features, and the picture."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from dyt_bench.errors import DataError
from dyt_bench.plugin.fetch import cache as cache_folder
from dyt_diffusion import domain, evaluation
from dyt_diffusion.classifier import trained_classifier


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The digits, and a fresh model of them; the classifier is trained once for all tests."""
    from dyt_bench.plugin.task import Task

    task = Task(
        domain="diffusion",
        model="dit",
        dataset="digits",
        steps=1,
        batch_size=16,
        learning_rate=1e-3,
        val_every=1,
    )
    data = domain.build_data(task)
    torch.manual_seed(0)
    return domain.build_module(task, data).eval(), data


@pytest.fixture(autouse=True)
def a_short_training(monkeypatch):
    monkeypatch.setattr("dyt_diffusion.classifier._STEPS", 150)


@pytest.fixture
def hardly_trained(monkeypatch, a_short_training):
    monkeypatch.setattr("dyt_diffusion.classifier._STEPS", 5)


@pytest.fixture
def preset():
    return replace(domain.trainings["default"], options={"samples": 60, "sampling_steps": 2})


def test_a_fresh_model_is_measured_and_shown(built, preset, tmp_path):
    module, data = built
    before = torch.get_rng_state()
    metrics = evaluation.evaluate(module, data, tmp_path, preset)
    assert torch.equal(torch.get_rng_state(), before)
    assert metrics["classifier_accuracy"] > 0.9
    assert metrics["label_accuracy"] < 0.4  # it draws noise
    assert 0 < metrics["frechet_classifier_real"] < metrics["frechet_classifier"] / 5
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > 500
    assert evaluation.evaluate(module, data, tmp_path, preset) == metrics


def test_real_images_for_samples_come_close(built, preset, tmp_path):
    """The measure itself: what is drawn from the training images is taken for them."""
    module, data = built
    by_class = {label: [] for label in range(10)}
    for image, label in data.plain:
        by_class[int(label)].append(image)

    class Copies(type(module)):
        def sample(self, labels, *_):
            return torch.stack([by_class[int(label)].pop() for label in labels])

    module.__class__, honest = Copies, type(module)
    try:
        metrics = evaluation.evaluate(module, data, tmp_path, preset)
    finally:
        module.__class__ = honest
    assert metrics["label_accuracy"] > 0.9
    assert metrics["frechet_classifier"] < 3 * metrics["frechet_classifier_real"]


def test_the_classifier_is_trained_once(built, monkeypatch):
    _, data = built
    first = trained_classifier(data, torch.device("cpu")).state_dict()
    monkeypatch.setattr("dyt_diffusion.classifier._train", None)
    again = trained_classifier(data, torch.device("cpu")).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert list(cache_folder().glob(f"derived/diffusion/classifier-{data.key}-*.pt"))


@pytest.mark.usefixtures("hardly_trained")
def test_a_cache_that_cannot_be_written_is_one_sentence(built, tmp_path, monkeypatch):
    _, data = built
    (tmp_path / "file").touch()
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"a file is in the place of a folder; set DYT_BENCH_DATA"):
        trained_classifier(data, torch.device("cpu"))


@pytest.mark.usefixtures("hardly_trained")
def test_more_classes_than_samples_still_make_a_picture(task, tmp_path, save_images, preset):
    for number in range(12):
        save_images(tmp_path / "images" / f"{number:02}", 5, (20 * number, 0, 0))
    given = task(dataset="folder", path=tmp_path / "images", batch_size=4)
    data = domain.build_data(given)
    module = domain.build_module(given, data).eval()
    (tmp_path / "out").mkdir()
    few = replace(preset, options={"samples": 8, "sampling_steps": 2, "guidance": 1.5})
    with torch.enable_grad():
        metrics = evaluation.evaluate(module, data, tmp_path / "out", few)
    assert set(metrics) >= {"frechet_classifier", "classifier_accuracy"}
    assert (tmp_path / "out" / "samples.png").is_file()


@pytest.mark.usefixtures("hardly_trained")
def test_latents_are_shown_as_pictures(task, imagenet, preset, tmp_path):
    given = task(dataset="imagenet", path=imagenet, batch_size=4)
    data = domain.build_data(given)
    module = domain.build_module(given, data).eval()
    (tmp_path / "out").mkdir()
    few = replace(preset, options={"samples": 4, "sampling_steps": 2})
    assert evaluation.evaluate(module, data, tmp_path / "out", few)["frechet_classifier"] > 0
    assert (tmp_path / "out" / "samples.png").is_file()
