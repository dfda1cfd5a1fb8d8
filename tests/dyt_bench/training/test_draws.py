"""What a step draws: the same for each sample however its batch is divided."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from dyt_bench.training.draws import BySample, Draws

COUNT, WIDTH = 8, 6
X = torch.arange(1.0, COUNT * WIDTH + 1).view(COUNT, WIDTH)


def each(call, parts, x=X, seed=0):
    """What ``call`` gives of each part of ``x``."""
    found = []
    for number, part in enumerate(x.chunk(parts)):
        torch.manual_seed(seed)
        with BySample(range(number * len(part), (number + 1) * len(part)), len(x)):
            found.append(call(part.clone()))
    return found


def drop_path(x):
    keep = x.new_empty((len(x), 1)).bernoulli_(0.5)
    return x * keep


def attention(x):
    heads = x.view(len(x), 1, WIDTH // 2, 2)
    return functional.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.5)


def layers(x):
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5, inplace=True), nn.Dropout1d(0.5))
    return net(x)


CALLS = {
    "dropout": functional.dropout,
    "modules": layers,
    "paths": drop_path,
    "attention": attention,
    "codes": lambda x: functional.gumbel_softmax(x.view(-1, 2), hard=True),
    "like": lambda x: torch.rand_like(x) + torch.randn_like(x),
    "new": lambda x: torch.rand(len(x), 1, 1) + torch.randn((len(x), 1, 1)),
    "by no generator": lambda x: torch.rand(x.shape, generator=None),
    "coins": lambda x: torch.bernoulli(x / X.numel()),
    "rows": lambda x: torch.multinomial(x, 3),
    "windows": lambda x: functional.dropout(x.flatten(), 0.3),
    "wide noise": lambda x: torch.randn(len(x), 100),
    "shares of one": lambda x: x.new_empty(len(x), 1).bernoulli_(x[:, :1] / X.numel()),
    "integers": lambda x: torch.randint(9, (len(x), 3)) + torch.randint(2, 7, size=(len(x), 3)),
    "integers by name": lambda x: torch.randint(high=9, low=3, size=(len(x), 100)),
    "integers like": lambda x: torch.randint_like(x, 5) + torch.randint_like(x, 2, high=9),
    "integers in place": lambda x: x.new_empty(len(x), 1).random_(5) + x.random_(),
    "normal": lambda x: torch.normal(1.0, 2.0, (len(x), 3)) + torch.normal(0, 1, size=(len(x), 1)),
    "normal by rows": lambda x: torch.normal(x, 1.0) + torch.normal(0.0, x) + torch.normal(x, x),
    "after a layer that is dropped": lambda x: functional.dropout(x) * torch.rand(()),
}


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("name", CALLS)
def test_parts_draw_what_the_whole_does(name, parts):
    (whole,) = each(CALLS[name], 1)
    assert torch.equal(torch.cat(each(CALLS[name], parts)), whole)


def test_samples_calls_and_seeds_differ():
    (one,) = each(lambda x: torch.stack([torch.rand_like(x), torch.rand_like(x)]), 1)
    assert len(one.flatten().unique()) == one.numel()
    (other,) = each(torch.rand_like, 1, seed=1)
    assert not torch.equal(other, one[0])


def test_shares_are_those_asked_for():
    (kept,) = each(lambda x: functional.dropout(x, 0.25) > 0, 1, x=torch.ones(8, 10_000))
    assert kept.float().mean() == pytest.approx(0.75, abs=0.01)


def test_integers_have_the_bounds_and_the_type_asked_for():
    (found,) = each(lambda x: torch.randint(3, 7, (len(x), 1000), dtype=torch.int32), 1)
    assert found.dtype == torch.int32
    assert found.unique().tolist() == [3, 4, 5, 6]
    (found,) = each(lambda x: torch.randint_like(x, 2), 1)
    assert found.dtype == X.dtype
    assert set(found.unique().tolist()) == {0.0, 1.0}
    (found,) = each(lambda x: torch.normal(5.0, 0.1, (len(x), 1000)), 1)
    assert found.mean() == pytest.approx(5.0, abs=0.01)


def test_single_numbers_are_the_same_for_all_parts():
    def numbers(x):
        functional.dropout(x)
        return torch.rand(()), torch.rand(1)

    first, *others = each(numbers, 4)
    assert all(other == first for other in others)


def test_what_holds_no_samples_differs_from_part_to_part():
    found = each(lambda x: torch.rand(3, 5), 4)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: functional.dropout(x, training=False),
        lambda x: functional.dropout(x, 0.0),
        lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda x: torch.rand(x.shape, generator=torch.Generator()),
        lambda x: x.normal_(generator=torch.Generator()),
    ],
)
def test_the_global_generator_is_left_alone_where_nothing_is_drawn_by_it(call):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with BySample(range(len(X)), len(X)):
        call(X.clone())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_computed_again_for_a_gradient_draws_the_same():
    def gradient(run):
        torch.manual_seed(0)
        x = X.clone().requires_grad_()
        with BySample(range(len(X)), len(X)):
            run(x).sum().backward()
        return x.grad

    def net(x):
        return functional.dropout(functional.dropout(x).square())

    kept = gradient(net)
    assert torch.equal(gradient(lambda x: checkpoint(net, x, use_reentrant=False)), kept)
    assert 0 < (kept == 0).float().mean() < 1


@pytest.mark.parametrize(
    "call",
    [
        lambda x: functional.gumbel_softmax(x[:, 0], hard=True).sum().round() == 1,
        lambda x: functional.gumbel_softmax(x, hard=True, dim=0).sum().round() == WIDTH,
        lambda x: torch.multinomial(x[:, 0], COUNT).unique().numel() == COUNT,
        lambda x: torch.allclose(
            functional.scaled_dot_product_attention(x, x, x, dropout_p=1e-9),
            functional.scaled_dot_product_attention(x, x, x),
        ),
    ],
)
def test_rows_that_depend_on_each_other_stay_together(call):
    (right,) = each(call, 1, x=X / X.sum())
    assert right


def test_attention_of_composed_functions_differs_from_part_to_part():
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(WIDTH, 1, dropout=0.5, batch_first=True)

    def attend(x):
        ones = torch.ones(len(x), 3, WIDTH)
        return layer(ones, ones, ones)[0]

    first, second = each(attend, 2)
    assert not torch.equal(first, second)


class Net(LightningModule):
    def __init__(self, dropout):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 1), nn.Dropout(dropout))
        self.drawing = []

    def training_step(self, batch, index):
        self.drawing.append(isinstance(_get_current_function_mode(), BySample))
        return self.layers(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Data:
    def part(self):
        return COUNT


@pytest.mark.parametrize(("dropout", "drawing"), [(0.0, [True, False]), (0.5, [True, True])])
def test_only_a_model_that_draws_pays_for_it(dropout, drawing, tmp_path):
    """A second fit goes on as the first began, as a run that is resumed does."""
    draws, net = Draws(Data()), Net(dropout)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options |= {"accelerator": "cpu", "enable_checkpointing": False}
    Trainer(**options, max_steps=2, callbacks=[draws]).fit(net, DataLoader(X, COUNT))
    assert net.drawing == drawing
    resumed = Draws(Data())
    resumed.load_state_dict(draws.state_dict())
    Trainer(**options, max_steps=1, callbacks=[resumed]).fit(net, DataLoader(X, COUNT))
    assert net.drawing[2:] == drawing[1:]
