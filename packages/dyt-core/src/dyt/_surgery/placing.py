"""Put modules in the place of others, so that it can be undone."""

from collections.abc import Mapping

from torch import nn

_ORIGINAL = "_dyt_original"  # of a module put in: a tuple, so that no state_dict shows its content


def put_in(model: nn.Module, changes: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Replace each key by its value, and keep it as its `original`; returns the (new) root."""
    for old, new in changes.items():
        stand_for(old, new)
    return replace(model, changes)


def stand_for(old: nn.Module, new: nn.Module) -> None:
    """Make ``old`` the `original` of ``new``."""
    new.__dict__[_ORIGINAL] = (old,)


def original(layer: nn.Module) -> nn.Module | None:
    """The module that `convert` replaced by ``layer``; None if there is none."""
    found: nn.Module | None = layer.__dict__.get(_ORIGINAL, (None,))[0]
    return found


def is_put_in(module: nn.Module) -> bool:
    """Whether the module stands in for another."""
    return _ORIGINAL in module.__dict__


def replace(model: nn.Module, changes: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Replace each key by its value everywhere; returns the (possibly new) root."""
    places = [(name, m) for name, m in model.named_modules(remove_duplicate=False) if m in changes]
    root = changes.get(model, model)
    for name, old in places:
        parent, _, attribute = name.rpartition(".")
        if name:
            model.get_submodule(parent)._modules[attribute] = changes[old]
    return root
