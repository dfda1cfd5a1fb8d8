"""The plan of a conversion: which layers stand in for which modules, as JSON, and back."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from dyt._gradual import Gradual
from dyt._surgery.build import Place, finish, place
from dyt._surgery.placing import is_put_in, original, put_in
from dyt.parts import PARTS
from dyt.variants import LAYERS

SCHEMA = 1  # of the plans that this version writes, and the newest that it reads

Plan = dict[str, Any]
Spec = dict[str, Any]  # of one layer


def plan_of(model: nn.Module) -> Plan | None:
    """The plan of a converted model; None if nothing in it was put in.

    Its entries: ``sites``, each with the names of the module that was replaced, its class, and the
    layer in its place; ``shared``, groups of keys of the state dict that are one tensor;
    ``buffers``, the dtypes of the buffers that no checkpoint holds; versions.

    Raises:
        ValueError: a layer of a class that cannot be built from a plan, or one in the middle of a
            gradual swap.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if is_put_in(module):
            names.setdefault(module, []).append(name)
    if not names:
        return None
    specs = ((where, _spec(where[0], layer)) for layer, where in names.items())
    return {
        "schema": SCHEMA,
        "dyt": version("dyt-core"),
        "torch": str(torch.__version__),
        "model": type(model).__name__,
        "sites": [{"names": where, **spec} for where, spec in specs if spec is not None],
        "shared": _shared(model),
        "buffers": {name: _named(value) for name, value in _unsaved(model)},
    }


def apply(plan: Plan, model: nn.Module) -> tuple[nn.Module, dict[nn.Module, nn.Module]]:
    """Put the plan's layers into a native model, with untrained values.

    Returns:
        The (new) root, and for each module that was replaced the one in its place.

    Raises:
        ValueError: the model is converted already, or lacks a module that the plan replaces.
    """
    if any(map(is_put_in, model.modules())):
        raise ValueError(
            f"{type(model).__name__} is converted already: dyt.load takes the model with its norms"
        )
    changes: dict[nn.Module, nn.Module] = {}
    for site in plan["sites"]:
        found = [_module(model, name, site) for name in site["names"]]
        layer = _built(model, site, found[0])
        changes.update((old, layer) for old in found)
    root = put_in(model, changes)
    _tie(root, plan)
    return root, changes


def restore_buffers(plan: Plan, model: nn.Module) -> None:
    """Give buffers that no checkpoint holds the dtypes that they had."""
    for name, value in _unsaved(model):
        if name in plan["buffers"]:
            value.data = value.to(getattr(torch, plan["buffers"][name]))


def forget_originals(changes: Mapping[nn.Module, nn.Module]) -> None:
    """Take from replaced modules the values that they never had: their model was not trained.

    `dyt.revert` and `dyt.calibrate` then refuse them. What a module shares with the one in its
    place, as an embedding its weight, it keeps.
    """
    for old, new in changes.items():
        shared = {name: new._parameters[name] for name in getattr(type(new), "SHARES", ())}
        kept = set(new.modules())
        for module in old.modules():
            for name, value in module._parameters.items():
                if module is old and name in shared:
                    module._parameters[name] = shared[name]
                elif module not in kept and value is not None:
                    module._parameters[name] = nn.Parameter(value.to("meta"), value.requires_grad)


def _spec(name: str, layer: nn.Module) -> Spec | None:
    """What is needed to build the layer; None where it is built as the module that it replaced."""
    old = original(layer)
    assert old is not None
    if type(layer) is type(old):
        return None  # a recipe's restart of a linear layer: only its values are others
    if isinstance(layer, Gradual):
        raise ValueError(
            f"{name!r} still holds its norm beside the layer: after training, dyt.settle(model) "
            "leaves the layer alone"
        )
    kept = list[str]()
    if isinstance(layer, nn.Sequential) and next(iter(layer._modules)) == "norm":
        kept = list(layer._modules)[1:]
        layer = layer[0]
    kind = type(layer).__name__
    if type(layer) not in (LAYERS.get(kind), PARTS.get(kind)):
        raise ValueError(
            f"module {name!r} is a {kind}, which dyt.load could not build: dyt.save knows the "
            "layers of dyt.variants"
        )
    spec: Spec = {
        "replaces": type(old).__name__,
        "parameters": _sizes(old),
        "activation": kept,
        "layer": kind,
        **{option: getattr(layer, option) for option in getattr(layer, "OPTIONS", ())},
    }
    if kind in PARTS:
        return spec
    return {
        **spec,
        "normalized_shape": list(getattr(layer, "normalized_shape", ())),
        "channels_last": getattr(layer, "channels_last", True),
        "weight": getattr(layer, "weight", None) is not None,
        "bias": getattr(layer, "bias", None) is not None,
    }


def _built(model: nn.Module, site: Spec, old: nn.Module) -> nn.Module:
    part, where = PARTS.get(site["layer"]), place(model, site["names"][0])
    if part is not None:
        built: nn.Module = part.rebuilt(old, site)
        # One for a module without parameters cannot take its place from them.
        return built if site["parameters"] else built.to(where.device, where.dtype)
    layer = _layer(site, where)
    return finish(model, site["names"], old, site["activation"], layer)


def _layer(site: Spec, where: Place) -> nn.Module:
    cls: Any = LAYERS.get(site["layer"])
    if cls is None:
        raise ValueError(
            f"the plan has a layer {site['layer']!r}, which this version of dyt does not know"
        )
    weight, bias = site.get("weight", False), site.get("bias", False)
    taken = signature(cls).parameters  # a subclass may have settled some of its options
    own = {name: site[name] for name in getattr(cls, "OPTIONS", ()) if name in taken}
    layer: nn.Module = cls(
        site.get("normalized_shape", ()),
        elementwise_affine=weight or bias,
        bias=bias,
        channels_last=site.get("channels_last", True),
        device=where.device,
        dtype=where.dtype,
        **own,
    )
    if isinstance(getattr(layer, "weight", None), nn.Parameter) and not weight:
        layer.register_parameter("weight", None)  # a layer with a bias only
    return layer


def _module(model: nn.Module, name: str, site: Spec) -> nn.Module:
    """The module to replace.

    Raises:
        ValueError: there is none of that name, or it is no such module.
    """
    try:
        found = model.get_submodule(name)
    except AttributeError:
        raise ValueError(
            f"{type(model).__name__} is another model than was saved: it has no module {name!r}, "
            f"which was a {site['replaces']}"
        ) from None
    if site["layer"] in PARTS:
        fits = isinstance(found, PARTS[site["layer"]].STANDS_FOR)
    else:
        fits = _sizes(found) == site["parameters"]
    if not fits:
        raise ValueError(
            f"{type(model).__name__} is another model than was saved: its {name!r} is a "
            f"{type(found).__name__} and was a {site['replaces']} with other parameters"
        )
    return found


def _sizes(module: nn.Module) -> list[int]:
    """Of the module's own parameters, by which it is told from others; classes are renamed."""
    return sorted(value.numel() for value in module.parameters(recurse=False))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name."""
    return dict(
        [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
    )


def _shared(model: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, value in _tensors(model).items():
        names.setdefault(id(value), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _unsaved(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Floating-point buffers that the state dict leaves out."""
    for prefix, module in model.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            value = module._buffers.get(name)
            if value is not None and value.is_floating_point():
                yield f"{prefix}.{name}".lstrip("."), value


def _named(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _tie(model: nn.Module, plan: Plan) -> None:
    """Share the parameters that layers put in shared; what else is shared the model ties itself."""
    for group in plan["shared"]:
        places = [name.rpartition(".") for name in group]
        owners = [(model.get_submodule(parent), name) for parent, _, name in places]
        built = tuple(LAYERS.values())
        layers = [(owner, name) for owner, name in owners if isinstance(owner, built)]
        for owner, name in layers[1:]:
            setattr(owner, name, getattr(*layers[0]))
