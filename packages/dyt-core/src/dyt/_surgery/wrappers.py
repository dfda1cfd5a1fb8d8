"""Refuse models that are compiled, wrapped, quantized or adapted, and say what to do first."""

import sys

import torch
from torch import nn

_PACKED = {torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2}
_QUANTIZERS = ("torch.ao.nn", "torch.nn.quantized", "bitsandbytes", "torchao", "auto_gptq", "awq")


def check_plain(model: nn.Module) -> None:
    """Refuse a model in which a swap would be bypassed, or leave a wrapper with old parameters.

    Raises:
        ValueError: compiled, scripted, wrapped for data-parallel training, quantized or with
            LoRA adapters.
    """
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        problem = _problem(module)
        if problem is not None:
            raise ValueError(f"{where} {problem}")


def _problem(module: nn.Module) -> str | None:
    cls = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return "is a TorchScript module: convert the model before scripting it"
    if _is_compiled(module):
        return (
            "is under torch.compile: convert the model that was compiled (OptimizedModule keeps "
            "it as _orig_mod), then compile it again"
        )
    if isinstance(module, nn.parallel.DistributedDataParallel) or _is_sharded(module):
        return f"is wrapped by {cls.__name__}: convert the model before wrapping it"
    if _has_lora(module):
        return (
            "has LoRA adapters, made for the model with its norms: convert before adding them, or "
            "merge them first"
        )
    if _is_quantized(module):
        return (
            "is quantized, so that what it computes is fitted to its norms: convert the model in "
            "floating point, then quantize it"
        )
    return None


def _is_compiled(module: nn.Module) -> bool:
    # Importing torch._dynamo takes a second; for a compiled model it is imported already.
    frames = sys.modules.get("torch._dynamo.eval_frame")
    optimized = frames is not None and isinstance(module, frames.OptimizedModule)
    return optimized or getattr(module, "_compiled_call_impl", None) is not None


def _is_sharded(module: nn.Module) -> bool:
    names = {cls.__name__ for cls in type(module).__mro__ if cls.__module__.startswith("torch.")}
    return bool(names & {"FullyShardedDataParallel", "FSDPModule"})


def _has_lora(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "peft" or "lora_A" in module._modules


def _is_quantized(module: nn.Module) -> bool:
    if type(module).__module__.startswith(_QUANTIZERS) or "qweight" in module._buffers:
        return True
    if getattr(module, "is_quantized", False) is True:  # as transformers marks a model
        return True
    parameters = [p for p in module._parameters.values() if p is not None]
    return any(
        p.dtype in _PACKED or type(p.data).__module__.startswith(_QUANTIZERS) for p in parameters
    )
