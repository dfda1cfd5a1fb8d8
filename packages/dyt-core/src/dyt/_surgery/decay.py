"""Which parameters weight decay leaves alone."""

from torch import nn


def no_decay(model: nn.Module) -> set[str]:
    """Names of the parameters of `convert`'s layers, which weight decay should leave alone.

    These are ``weight``, ``bias``, ``alpha`` and ``shift`` of every point-wise layer, the factor
    ``scale`` of a `ScaledEmbedding`, but not its weight, the parameters of norms that `convert` put
    in, and what else a class of `dyt.variants` or `dyt.parts` has in ``NO_DECAY``. Trainers leave
    out norms by their class or name, so that after a swap they would decay them. Shared parameters
    are listed by all their names.

    transformers' Trainer takes it so::

        class MyTrainer(Trainer):
            def get_decay_parameter_names(self, model):
                return sorted({*super().get_decay_parameter_names(model)} - dyt.no_decay(model))

    and timm's ``create_optimizer_v2`` as ``param_groups_weight_decay(model, 0.05,
    dyt.no_decay(model))``.

    Args:
        model: any model; point-wise layers that it was built with count too.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
        >>> sorted(dyt.no_decay(dyt.convert(model, "dyt")))
        ['1.alpha', '1.bias', '1.weight']
    """
    found = set[str]()
    for prefix, module in model.named_modules(remove_duplicate=False):
        left = getattr(type(module), "NO_DECAY", ())
        names = {name for name, _ in module.named_parameters(recurse=False)}
        found.update(f"{prefix}.{name}".lstrip(".") for name in names.intersection(left))
    return found
