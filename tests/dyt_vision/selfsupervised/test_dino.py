"""Self-distillation: crops, loss, centre and teacher against DINO's formulas."""

import math

import pytest
import torch
from torch.nn.functional import normalize

import dyt
from dyt_vision.selfsupervised.crops import boxes, cropped
from dyt_vision.selfsupervised.dino import distillation
from dyt_vision.selfsupervised.models import ARCHITECTURES


def built(**options):
    torch.manual_seed(0)
    return ARCHITECTURES["dino"][1](1, 8, 10, 0.0, {"local_crops": 2, **options})


def generators(count):
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_a_crop_lies_in_its_image_and_has_the_area_asked_for():
    found = boxes(generators(500), (0.05, 0.4))
    x, y, wide, high = found.T
    assert (x.abs() + wide).max() <= 1 + 1e-6
    assert (y.abs() + high).max() <= 1 + 1e-6
    area, aspect = wide * high, wide / high
    assert (area.min(), area.max()) == (pytest.approx(0.05, abs=0.01), pytest.approx(0.4, abs=0.01))
    assert area.mean() == pytest.approx(0.225, abs=0.02)
    assert (aspect.min() > 0.74, aspect.max() < 1.34) == (True, True)


def test_crops_are_the_pixels_in_their_boxes():
    images = torch.arange(2 * 16.0).view(2, 1, 4, 4)
    whole, corner = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.5, -0.5, 0.5, 0.5])
    found = cropped(images, torch.stack([whole, whole]), 4)
    torch.testing.assert_close(found, images)
    found = cropped(images, torch.stack([corner, corner]), 2)  # at the right, above
    torch.testing.assert_close(found, images[:, :, :2, 2:])


def test_the_loss_is_a_cross_entropy_of_sharp_centred_targets():
    torch.manual_seed(0)
    students = [torch.randn(3, 5, dtype=torch.float64) for _ in range(4)]
    teachers = [torch.randn(3, 5, dtype=torch.float64) for _ in range(2)]
    centre = torch.randn(5, dtype=torch.float64)
    total, pairs = 0.0, 0
    for t, seen in enumerate(teachers):
        for s, found in enumerate(students):
            if s == t:
                continue
            pairs += 1
            for image in range(3):
                sharp = [math.exp((seen[image, k] - centre[k]) / 0.04) for k in range(5)]
                soft = [math.exp(found[image, k] / 0.1) for k in range(5)]
                for k in range(5):
                    total -= sharp[k] / sum(sharp) * math.log(soft[k] / sum(soft)) / 3
    assert pairs == 2 * 3
    loss = distillation(students, teachers, centre, 0.1, 0.04)
    assert float(loss) == pytest.approx(total / pairs, rel=1e-5)


def test_a_centred_teacher_prefers_no_prototype_and_a_cold_one_is_sharp():
    same = torch.tensor([[3.0, 1.0, 0.0]]).expand(2, -1)
    flat = [torch.zeros(2, 3)] * 2
    centred = distillation(flat, [same, same], same[0], 0.1, 0.04)
    assert float(centred) == pytest.approx(math.log(3))  # of a uniform target
    sure = [same / 3, same / 3]
    cold, warm = (distillation(sure, [same, same], torch.zeros(3), 0.1, t) for t in (0.04, 2.0))
    assert cold < warm


def test_large_crops_begin_where_small_ones_end(monkeypatch):
    from dyt_vision.selfsupervised import dino

    drawn = []
    monkeypatch.setattr(dino, "boxes", lambda by, area: (drawn.append(area), boxes(by, area))[1])
    built(boundary=0.25).objective(torch.randn(2, 1, 8, 8), generators(2), attached=False)
    assert drawn == [(0.25, 1.0)] * 2 + [(0.05, 0.25)] * 2


def test_the_teachers_temperature_rises_in_its_share_of_the_steps():
    model = built(first_temperature=0.04, teacher_temperature=0.07, temperature_warmup=0.25)
    seen = []
    for done in (0.0, 0.125, 0.25, 1.0):
        model.warm_up(done)
        seen.append(model.teacher_temperature)
    assert seen == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert built(teacher_temperature=0.05).teacher_temperature == 0.05


def test_outputs_are_cosines():
    model = built().eval()
    images = torch.randn(3, 1, 8, 8)
    found = model.projected(images).detach()
    features = model.head(model.encoder.forward_features(images)[:, 0])
    for image in range(3):
        for k in (0, 7, 127):
            a, b = features[image].detach(), model.prototypes[k].detach()
            assert float(found[image, k]) == pytest.approx(
                float(a @ b / (a.norm() * b.norm())), abs=1e-5
            )
    assert normalize(features, dim=-1).norm(dim=-1).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("swap", [False, True])
def test_the_teacher_is_the_moving_average_and_no_module(swap):
    model = built()
    names = {name for name, _ in model.named_modules()}
    if swap:
        dyt.convert(model, "dyt")
        assert len(dyt.alphas(model)) == 2 * 4 + 1
    images = torch.randn(4, 1, 8, 8)
    model.objective(images, generators(4), attached=True).backward()
    if not swap:
        assert {name for name, _ in model.named_modules()} == names
    start = {name: value.clone() for name, value in model.teacher.items()}
    assert all(torch.equal(start[name], p) for name, p in model.named_parameters())
    outputs = model.taught(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(model.taught(images), outputs)  # the student alone has moved
    model.follow(0.9)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(model.teacher[name], 0.9 * start[name] + 0.1 * parameter)
    assert not any(value.requires_grad for value in model.teacher.values())


def test_the_centre_is_the_moving_mean_of_the_teachers_outputs():
    model = built(local_crops=0)
    images, seen = torch.randn(4, 1, 8, 8), []
    taught = model.taught
    model.taught = lambda crop: (seen.append(taught(crop)), seen[-1])[1]
    model.objective(images[:2], generators(2), attached=True)  # in two parts of a step
    model.objective(images[2:], generators(2), attached=True)
    model.follow(1.0)
    torch.testing.assert_close(model.centre, 0.1 * torch.cat(seen).mean(0))
    first = model.centre.clone()
    seen.clear()
    model.objective(images, generators(4), attached=True)
    model.follow(1.0)
    torch.testing.assert_close(model.centre, 0.9 * first + 0.1 * torch.cat(seen).mean(0))


def test_before_training_the_student_teaches_itself_and_nothing_is_kept():
    model = built()
    assert model.objective(torch.randn(2, 1, 8, 8), generators(2), attached=False).isfinite()
    assert not model.teacher
    assert not model._seen
    assert not model.centre.any()


def test_the_teacher_gets_no_gradient():
    model = built(local_crops=0)
    model.objective(torch.randn(2, 1, 8, 8), generators(2), attached=True).backward()
    assert all(value.grad is None for value in model.teacher.values())
    assert model.prototypes.grad.abs().sum() > 0
    assert model.encoder.head.weight.grad is None
