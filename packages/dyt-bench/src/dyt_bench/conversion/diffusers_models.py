"""diffusers' architectures by name, made small."""

import inspect
from collections.abc import Iterator
from itertools import product
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from dyt_bench.conversion.shrink import LAYERS, shrink
from dyt_bench.conversion.specimen import SMALL, Specimen, count
from dyt_bench.discovery.domains import nearest
from dyt_bench.errors import UserError

BATCH, TEXT, FRAMES, SIDE = 2, 8, 5, 16


def names() -> list[str]:
    """Model classes: "DiTTransformer2DModel", "UNet2DConditionModel"."""
    return sorted(
        name
        for name in dir(diffusers)
        if inspect.isclass(found := getattr(diffusers, name, None))
        and issubclass(found, diffusers.ModelMixin)
        and found is not diffusers.ModelMixin
    )


def build(name: str, *, full: bool = False) -> Specimen:
    """The model class ``name`` with its default arguments, made small.

    Raises:
        UserError: no such class, or one that needs arguments.
    """
    if name not in names():
        raise UserError(f"diffusers has no such model{nearest(name, names())}")
    cls: Any = getattr(diffusers, name)
    failures = []
    for options in [{}] if full else _options(cls):
        try:
            with torch.device("meta"):
                model: nn.Module = cls(**options)
            if not full and count(model) <= SMALL:
                torch.manual_seed(0)
                model = cls(**options)
        except Exception as error:  # a size that the architecture does not allow: try the next
            failures.append(f"{type(error).__name__}: {error}".partition("\n")[0])
            continue
        return Specimen(f"diffusers:{name}", model, tuple(candidate_inputs(model)))
    raise UserError(f"diffusers cannot build {name} without arguments: {failures[0]}")


def _options(cls: Any) -> Iterator[dict[str, Any]]:
    """The constructor's defaults at their smallest, then with fewer layers, then as they are."""
    parameters = inspect.signature(cls.__init__).parameters
    defaults = {
        name: parameter.default
        for name, parameter in list(parameters.items())[1:]
        if parameter.default is not parameter.empty
    }
    small = shrink({**defaults, **_needed(defaults)})
    for key in ("in_channels", "out_channels", "patch_size"):
        if defaults.get(key) is not None:
            small[key] = defaults[key]
    # Heads times their width is the width of the model.
    yield small | ({"attention_head_dim": 16} if "attention_head_dim" in defaults else {})
    yield {k: v for k, v in small.items() if "layers" in k or "depth" in k}
    yield _needed(defaults)


def _needed(defaults: dict[str, Any]) -> dict[str, Any]:
    """Values for arguments whose default None is not enough to build."""
    values = {"in_channels": 4, "sample_size": SIDE, "patch_size": 2, "num_layers": LAYERS}
    return {k: v for k, v in values.items() if k in defaults and defaults[k] is None}


def candidate_inputs(model: Any) -> Iterator[dict[str, Any]]:
    """Inputs that may suit the model: images, videos or tokens, with what else forward takes."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    takes = inspect.signature(model.forward).parameters
    config = model.config
    main = next((n for n in ("hidden_states", "sample", "x") if n in takes), None)
    if main is None:
        return
    widths = [
        config[key]
        for key in (
            "cross_attention_dim",
            "joint_attention_dim",
            "caption_channels",
            "text_dim",
            "text_embed_dim",
            "caption_projection_dim",
            "encoder_hidden_size",
            "cap_feat_dim",
            "condition_dim",
            "text_states_dim",
            "context_in_dim",
            "text_hidden_dim",
        )
        if isinstance(config.get(key), int)
    ] or [64]
    for shape, width, ids in product(_shapes(config), dict.fromkeys(widths), (3, 4)):

        def some(*size: int) -> Tensor:
            return torch.randn(size, device=device)

        pair = torch.full((BATCH, 2), float(SIDE), device=device)
        others = {
            "timestep": torch.tensor([1] * BATCH, device=device),
            "r_timestep": torch.tensor([1] * BATCH, device=device),
            "timestep_r": torch.tensor([1.0] * BATCH, device=device),
            "encoder_hidden_states": some(BATCH, TEXT, width),
            "pooled_projections": some(BATCH, config.get("pooled_projection_dim") or width),
            "encoder_attention_mask": torch.ones(BATCH, TEXT, device=device),
            "img_ids": torch.zeros(shape[1], ids, device=device),
            "txt_ids": torch.zeros(TEXT, ids, device=device),
            "added_cond_kwargs": {"resolution": pair, "aspect_ratio": pair[:, :1]},
            "added_time_ids": torch.ones(BATCH, 3, device=device),
            "original_size": pair,
            "target_size": pair,
            "crop_coords": pair,
            "controlnet_cond": some(BATCH, 3, 8 * SIDE, 8 * SIDE),
            "proj_embedding": some(BATCH, width),
            "num_frames": FRAMES,
            "height": SIDE,
            "width": SIDE,
        }
        if config.get("guidance_embeds"):
            others["guidance"] = torch.ones(BATCH, device=device)
        if config.get("num_class_embeds") or config.get("num_embeds_ada_norm"):
            others["class_labels"] = torch.tensor([0] * BATCH, device=device)
        yield {main: some(*shape), **{k: v for k, v in others.items() if k in takes}}


def _shapes(config: Any) -> list[tuple[int, ...]]:
    channels = next(
        (
            config[key]
            for key in (
                "in_channels",
                "in_dim",
                "num_channels",
                "latent_channels",
                "audio_channels",
            )
            if isinstance(config.get(key), int)
        ),
        4,
    )
    size = config.get("sample_size")
    side = size if isinstance(size, int) and size <= 128 else SIDE
    return [
        (BATCH, channels, side, side),
        (BATCH, channels, FRAMES, side, side),
        (BATCH, FRAMES, channels, side, side),
        (BATCH, side * side, channels),
        (BATCH, channels, 128),
        (BATCH, 1, 16384),
        (BATCH, 2, 16384),
        (BATCH, 3, 4 * SIDE, 4 * SIDE),
        (BATCH, 3, FRAMES, 4 * SIDE, 4 * SIDE),
    ]
