"""transformers' architectures by name: every configuration with a model class, made small."""

import importlib
import inspect
import math
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from dyt_bench.conversion.shrink import LAYERS, shrink
from dyt_bench.conversion.specimen import SMALL, Specimen, count
from dyt_bench.discovery.domains import nearest
from dyt_bench.errors import UserError

BATCH, LENGTH = 2, 8


def names() -> list[str]:
    """Model types, as configurations call themselves: "llama", "wav2vec2"."""
    return sorted(CONFIG_MAPPING.keys())


def build(name: str, *, full: bool = False) -> Specimen:
    """``name`` is a model type, a configuration class or a model class.

    Raises:
        UserError: no such class, or a configuration without a model.
    """
    config_class, model_class = _classes(name)
    failures = []
    for config in _configs(config_class, full):
        try:
            with torch.device("meta"):
                model = _make(model_class, config)
            if not full and count(model) <= SMALL:
                torch.manual_seed(0)
                model = _make(model_class, config)
        except Exception as error:  # a size that the architecture does not allow: try the next
            failures.append(f"{type(error).__name__}: {error}".partition("\n")[0])
            continue
        inputs = tuple(candidate_inputs(model, config))
        return Specimen(f"transformers:{name}", model, inputs)
    raise UserError(f"transformers cannot build {name}: {failures[0]}")


def _make(model_class: Any, config: Any) -> nn.Module:
    config = type(config).from_dict(config.to_dict())
    model: nn.Module = model_class._from_config(config, attn_implementation="eager")
    return model


def _classes(name: str) -> tuple[Any, Any]:
    config_class: Any
    if name in CONFIG_MAPPING:
        config_class = CONFIG_MAPPING[name]
    else:
        config_class = getattr(transformers, name, None)
        if not inspect.isclass(config_class):
            known = [*names(), *(n for n in dir(transformers) if n.endswith("Config"))]
            raise UserError(
                f"transformers has no such configuration or model{nearest(name, known)}"
            )
    if issubclass(config_class, transformers.PreTrainedModel):
        return config_class.config_class, config_class
    return config_class, _model_class(config_class)


def _model_class(config_class: Any) -> Any:
    for mapping in ("MODEL_MAPPING", "MODEL_FOR_CAUSAL_LM_MAPPING"):
        found = getattr(modeling_auto, mapping).get(config_class, None)
        if found is not None:
            return found[0] if isinstance(found, list | tuple) else found
    path = config_class.__module__.replace(".configuration_", ".modeling_")
    try:
        module = importlib.import_module(path)
    except ImportError:
        raise UserError(f"transformers has no model for {config_class.__name__}") from None
    models = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, transformers.PreTrainedModel)
        and value.config_class is config_class
        and "forward" in vars(value)
    ]
    if not models:
        raise UserError(f"transformers has no model for {config_class.__name__}")
    return min(models, key=lambda model: ("For" in model.__name__, len(model.__name__)))


def _configs(config_class: Any, full: bool) -> Iterator[Any]:
    """The configuration at its smallest, then with fewer layers, then as it is."""
    default = config_class()
    if not full:
        plain = default.to_dict()
        for smaller in (shrink(plain), _shallow(plain)):
            try:
                yield config_class.from_dict(smaller)
            except Exception:  # a configuration checks its sizes when it is made
                continue
    yield default


def _shallow(config: dict[str, Any]) -> dict[str, Any]:
    """Fewer layers, nothing else."""
    small = dict(config)
    for key, value in config.items():
        if isinstance(value, dict):
            small[key] = _shallow(value)
        elif key in ("num_hidden_layers", "n_layer", "encoder_layers", "decoder_layers"):
            small[key] = value and min(value, LAYERS)
    return small


def candidate_inputs(model: Any, config: Any) -> Iterator[dict[str, Any]]:
    """Inputs that may suit the model, the likeliest first."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    takes = inspect.signature(model.forward).parameters
    text = _text(config, device)
    made = {
        "input_ids": text,
        "pixel_values": _pixels(config, device),
        "input_values": torch.randn(BATCH, 16000, device=device),
        "input_features": torch.randn(BATCH, 80, 100, device=device),
        "decoder_input_ids": text,
        "bbox": torch.zeros(BATCH, LENGTH, 4, dtype=torch.long, device=device),
    }
    main = getattr(model, "main_input_name", "input_ids")
    needed = [
        name
        for name, parameter in takes.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    base = {name: made[name] for name in dict.fromkeys([main, *needed]) if name in made}
    base = {name: value for name, value in base.items() if name in takes}
    if "bbox" in takes:
        base["bbox"] = made["bbox"]
    decoder = {"decoder_input_ids": text} if "decoder_input_ids" in takes else {}
    yield {**base, **decoder}
    if "input_ids" in takes:
        yield {"input_ids": text, **decoder}
    if "pixel_values" in takes:
        if "input_ids" in takes:
            yield {"input_ids": text, "pixel_values": made["pixel_values"], **decoder}
        for size in (32, 64, 224, 384):
            yield {"pixel_values": _pixels(config, device, size), **decoder}
    if "input_values" in takes:
        yield {"input_values": torch.randn(BATCH, 1, 16000, device=device), **decoder}
        yield {"input_values": torch.randn(BATCH, 1024, 128, device=device), **decoder}
    if "input_features" in takes:
        yield from _features(config, device, decoder)
    if "inputs_embeds" in takes:
        width = _find(config, "hidden_size") or 64
        yield {"inputs_embeds": torch.randn(BATCH, LENGTH, width, device=device), **decoder}
    if "grid_thw" in takes:
        grid = torch.tensor([[1, 4, 4]], device="cpu")
        depth = (_find(config, "temporal_patch_size") or 1) * (_find(config, "in_channels") or 3)
        for patch in (_find(config, "patch_size") or 14, 14, 16):
            patches = torch.randn(16, depth * patch**2, device=device)
            name = "hidden_states" if "hidden_states" in takes else "pixel_values"
            yield {name: patches, "grid_thw": grid}
    if "hidden_states" in takes:
        width = _find(config, "hidden_size", "d_model", "embed_dim") or 64
        yield {"hidden_states": torch.randn(BATCH, LENGTH, width, device=device)}
    if "pixel_values_videos" in takes:
        side = _side(config)
        frames = _find(config, "frames_per_clip", "num_frames") or 4
        video = torch.randn(BATCH, frames, 3, side, side, device=device)
        yield {"pixel_values_videos": video}
    if "pixel_values" in takes:
        side = _side(config)
        frames = _find(config, "num_frames") or 4
        yield {"pixel_values": torch.randn(BATCH, frames, 3, side, side, device=device)}
    if "past_values" in takes:
        yield from _series(config, device)


def _text(config: Any, device: torch.device) -> Tensor:
    vocabulary = _find(config, "vocab_size") or 100
    special = {v for v in _token_ids(config.to_dict()) if v is not None}
    plain = [token for token in range(3, min(vocabulary, 120)) if token not in special] or [1]
    columns = [plain[i % len(plain)] for i in range(LENGTH)]
    return torch.tensor([columns] * BATCH, device=device)


def _token_ids(config: dict[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _token_ids(value)
        elif isinstance(value, int) and ("token" in key or key.endswith("_id")):
            yield value


def _pixels(config: Any, device: torch.device, side: int | None = None) -> Tensor:
    size = side or _find(config, "image_size", "img_size", "input_size") or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = _find(config, "num_channels", "in_channels", "in_chans") or 3
    channels = channels if isinstance(channels, int) else 3
    return torch.randn(BATCH, channels, height, width, device=device)


def _side(config: Any) -> int:
    size = _find(config, "image_size", "crop_size") or 32
    return size if isinstance(size, int) else int(size[0])


def _features(
    config: Any, device: torch.device, decoder: dict[str, Tensor]
) -> Iterator[dict[str, Any]]:
    """Spectrograms, features first and last."""
    bins = _find(
        config,
        "num_mel_bins",
        "input_feat_per_channel",
        "feature_projection_input_dim",
        "n_mels",
        "input_dim",
        "feature_size",
    )
    positions = _find(config, "max_source_positions") or 64
    bins = bins or 80
    for shape in ((bins, 2 * positions), (64, bins), (bins, 64)):
        yield {"input_features": torch.randn(BATCH, *shape, device=device), **decoder}


def _series(config: Any, device: torch.device) -> Iterator[dict[str, Any]]:
    length = _find(config, "context_length", "seq_length") or 32
    lags = max(_find(config, "lags_sequence") or [0])
    channels = _find(config, "num_input_channels", "input_size") or 1
    for shape in ((length, channels), (length + lags,)):
        past = torch.randn(BATCH, *shape, device=device)
        yield {"past_values": past}
        features = _find(config, "num_time_features") or 0
        size = (BATCH, shape[0], features)
        yield {
            "past_values": past,
            "past_time_features": torch.randn(size, device=device),
            "past_observed_mask": torch.ones_like(past),
        }


def _find(config: Any, *keys: str) -> Any:
    """The first of ``keys`` in the configuration, or in one inside it."""
    for key in keys:
        value = getattr(config, key, None)
        if value is not None:
            return math.prod(value) if isinstance(value, set) else value
    for value in vars(config).values():
        if isinstance(value, transformers.PretrainedConfig):
            found = _find(value, *keys)
            if found is not None:
                return found
    return None
