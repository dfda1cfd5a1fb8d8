"""The masked autoencoder: which patches it sees, and its loss against MAE's formula."""

import pytest
import torch

import dyt
from dyt_vision.selfsupervised.mae import patches
from dyt_vision.selfsupervised.models import ARCHITECTURES


def built(channels=1, pixels=8, **options):
    torch.manual_seed(0)
    return ARCHITECTURES["mae"][1](channels, pixels, 10, 0.0, options)


def generators(count):
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_patches_are_cut_row_by_row():
    images = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4)
    found = patches(images, 2)
    assert found.shape == (2, 4, 12)
    below = images[1, :, 2:4, 0:2]  # the third patch: the second row, the first column
    assert torch.equal(found[1, 2], below.permute(1, 2, 0).flatten())


@pytest.mark.parametrize("rate", [0.75, 0.5])
def test_so_many_patches_are_shown_and_others_for_each_image(rate, monkeypatch):
    model, seen = built(mask_rate=rate), []
    encoded = model.encoded
    monkeypatch.setattr(
        model, "encoded", lambda images, shown: (seen.append(shown), encoded(images, shown))[1]
    )
    model.objective(torch.randn(8, 1, 8, 8), generators(8), attached=True)
    (shown,) = seen
    assert shown.shape == (8, 16 * (1 - rate))
    assert all(len(set(row)) == len(row) for row in shown.tolist())
    assert len({tuple(sorted(row)) for row in shown.tolist()}) > 4


def test_the_encoder_sees_no_hidden_patch():
    model = built().eval()
    images = torch.randn(2, 1, 8, 8)
    shown = torch.tensor([[0, 5, 9, 12], [3, 4, 8, 15]])
    changed = images.clone()
    for image, places in enumerate(shown.tolist()):
        for place in {*range(16)} - {*places}:
            row, column = divmod(place, 4)
            changed[image, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1
    torch.testing.assert_close(model.encoded(images, shown), model.encoded(changed, shown))
    everything = torch.arange(16).expand(2, -1)
    whole = model.encoder.forward_features(images)
    torch.testing.assert_close(model.encoded(images, everything), whole)


def test_the_loss_is_that_of_hidden_patches_normalized_each():
    """Written out in loops, from masks that are drawn here once more."""
    model = built().eval()
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    model.double()
    loss = model.objective(images, generators(3), attached=True)
    order = torch.stack([torch.rand(16, generator=g).argsort() for g in generators(3)])
    found = model.painted(model.encoded(images, order[:, :4]), order)
    errors = []
    for image in range(3):
        for place in order[image, 4:].tolist():
            row, column = divmod(place, 4)
            pixels = images[image, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten()
            mean = sum(pixels) / 4
            variance = sum((pixels - mean) ** 2) / 3
            target = (pixels - mean) / (variance + 1e-6) ** 0.5
            errors.append(((found[image, place] - target) ** 2).mean())
    assert len(errors) == 3 * 12
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_the_decoder_puts_each_patch_in_its_place():
    """Whatever order the patches are shown in, the same is painted."""
    model = built().eval()
    images = torch.randn(1, 1, 8, 8)
    order = torch.randperm(16).unsqueeze(0)
    other = torch.cat([order[:, :4].flip(1), order[:, 4:].flip(1)], dim=1)
    first, second = (model.painted(model.encoded(images, o[:, :4]), o) for o in (order, other))
    torch.testing.assert_close(first, second)


def test_encoder_and_decoder_lose_their_norms():
    model = dyt.convert(built(), "dyt")
    alphas = dyt.alphas(model)
    assert len(alphas) == 2 * 4 + 1 + 2 * 2 + 1
    assert {name.split(".")[0] for name in alphas} == {"encoder", "decoder", "norm"}
    assert not dyt.audit(model) or all(dyt.original(s.module) for s in dyt.audit(model))
    assert model.objective(torch.randn(2, 1, 8, 8), generators(2), attached=True).isfinite()


def test_sizes_are_the_papers():
    with torch.device("meta"):
        model = ARCHITECTURES["mae-base"][1](3, 224, 1000, 0.1, {})
        large = ARCHITECTURES["mae-large"][1](3, 224, 1000, 0.1, {})
    sizes = [
        sum(parameter.numel() for parameter in part.parameters()) / 1e6
        for part in (model.encoder, model, large.encoder)
    ]
    assert sizes == pytest.approx([86.6, 112.7, 304.3], rel=0.01)
