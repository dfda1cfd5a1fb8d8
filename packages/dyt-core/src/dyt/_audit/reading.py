"""Read from the source of a class what its forward does with norms, without running it.

A norm itself does not show that its parent calls ``F.layer_norm``, or that its parent reads the
norm's weight or eps, for example to pass them to a fused kernel. A layer swapped in there would be
bypassed, or would lack the attribute.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_NAMES = ("layer_norm", "rms_norm", "normalize", "group_norm", "batch_norm", "instance_norm")
_FUNCTIONS: dict[Any, str] = {
    getattr(module, name): f"{prefix}.{name}"
    for module, prefix in ((functional, "F"), (torch, "torch"))
    for name in (*_NAMES, *(f"native_{name}" for name in _NAMES))
    if hasattr(module, name)
}
# Positional inputs and names of a call that every layer takes.
_AS_LAYERS = ((1, ()), (0, ("x",)))
# These attributes of a parameter are the same before and after a swap.
_SAME_OF_PARAMETER = {"dtype", "device", "shape", "ndim", "dim", "size", "numel"}


@dataclass(frozen=True)
class Reading:
    """What a class's forward, and the methods that it calls on itself, do with norms."""

    functional: tuple[str, ...] = ()  # the norm functions that it calls, as "F.layer_norm"
    chains: tuple[tuple[str, ...], ...] = ()  # ("self", "norm", "weight") for self.norm.weight
    # ("self", "norm") for self.norm(x, y, z=0), with 2 inputs by position and the names of others
    calls: tuple[tuple[tuple[str, ...], int, tuple[str, ...]], ...] = ()
    # ("self", "norm") for isinstance(self.norm, C), with C
    checks: tuple[tuple[tuple[str, ...], type | tuple[type, ...]], ...] = ()

    def of_child(self, path: tuple[str, ...], module: nn.Module) -> Iterator[str]:
        """The attributes of ``module`` at ``path`` that are read, such as ``weight`` or ``eps``.

        Attributes that the module lacks are left out: they belong to a branch for other modules.
        """
        for chain in self.chains:
            rest = _after(path, chain)
            if rest and not _harmless(rest) and hasattr(module, rest[0]):
                yield ".".join(rest)

    def more_inputs(self, path: tuple[str, ...], module: nn.Module) -> str | None:
        """What the child at ``path`` is called with that a layer does not take.

        A layer takes one input, by position or as ``x``. Inputs that ``module`` does not take
        either are left out: they belong to a branch for other modules.
        """
        forward = inspect.signature(type(module).forward)
        for chain, positional, named in self.calls:
            if _after(path, chain) == () and (positional, named) not in _AS_LAYERS:
                try:
                    forward.bind(module, *[None] * positional, **dict.fromkeys(named))
                except TypeError:
                    continue
                return " and ".join(named) if named else f"{positional} inputs"
        return None

    def checked(self, path: tuple[str, ...], module: nn.Module) -> bool:
        """Whether the class of the child at ``path`` is one that is checked for."""
        return any(
            _after(path, chain) == () and isinstance(module, types) for chain, types in self.checks
        )


def read_forward(cls: type[nn.Module]) -> Reading:
    """The reading of ``cls``; empty for PyTorch's own modules and where there is no source."""
    if cls.__module__.startswith("torch."):
        return Reading()
    functional_calls: dict[str, None] = {}
    chains: dict[tuple[str, ...], None] = {}
    calls: dict[tuple[tuple[str, ...], int, tuple[str, ...]], None] = {}
    checks: list[tuple[tuple[str, ...], type | tuple[type, ...]]] = []
    for function, tree in _reachable(cls):
        names = getattr(function, "__globals__", {})
        nodes = list(ast.walk(tree))
        # In self.norm.weight.dtype, self.norm.weight is not read by itself.
        inner = {_unsubscripted(n.value) for n in nodes if isinstance(n, ast.Attribute)}
        for node in nodes:
            if isinstance(node, ast.Attribute) and node not in inner:
                chain = _chain(node)
                if len(chain) > 2:
                    chains[chain] = None
            elif isinstance(node, ast.Call):
                called = _resolve(node.func, names)
                if called is isinstance and len(node.args) == 2:
                    types = _types(node.args[1], names)
                    checks += [(_chain(node.args[0]), types)] if types else []
                elif (name := _norm_function(called)) is not None:
                    if not _of_weight(node):
                        functional_calls[name] = None
                elif (call := _child_call(node)) is not None:
                    calls[call] = None
    return Reading(tuple(functional_calls), tuple(chains), tuple(calls), tuple(checks))


def _reachable(cls: type[nn.Module]) -> Iterator[tuple[Callable[..., Any], ast.AST]]:
    """forward, and every method, property and function of its file that it reaches."""
    waiting: list[Any] = [cls.forward]
    seen = set()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if function in seen or not inspect.isfunction(function):
            continue
        if function.__module__.startswith("torch."):  # inherited
            continue
        seen.add(function)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError):  # no source, or not a complete statement
            continue
        yield function, tree
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _chain(node)[:-1] == ("self",):
                waiting.append(_method(cls, node.attr))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called = function.__globals__.get(node.func.id)
                if getattr(called, "__module__", None) == function.__module__:
                    waiting.append(called)


def _method(cls: type, name: str) -> Any:
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, property):
        return found.fget
    return getattr(found, "__func__", found)  # a static or class method holds its function


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("self", "norms", "weight") for ``self.norms[0].weight``; () for other expressions."""
    if isinstance(node, ast.Subscript):
        return _chain(node.value)
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return (*before, node.attr) if before else ()
    return ()


def _unsubscripted(node: ast.AST) -> ast.AST:
    return _unsubscripted(node.value) if isinstance(node, ast.Subscript) else node


def _resolve(node: ast.AST, names: dict[str, Any]) -> Any:
    """The object of a dotted name in a function's globals; None if it is not found."""
    root, *attributes = _chain(node) or ("",)
    if root == "isinstance":
        return isinstance
    found = names.get(root)
    for attribute in attributes:
        found = getattr(found, attribute, None)
    return found


def _norm_function(called: Any) -> str | None:
    try:
        return _FUNCTIONS.get(called)
    except TypeError:  # not hashable
        return None


def _of_weight(call: ast.Call) -> bool:
    """Whether a weight is normalized, not an input."""
    parts = [n for given in call.args[:1] for n in ast.walk(given) if isinstance(n, ast.Attribute)]
    return any(part.attr.endswith("weight") for part in parts)


def _child_call(call: ast.Call) -> tuple[tuple[str, ...], int, tuple[str, ...]] | None:
    """The chain, positional inputs and names of ``self.norm(x, y, z=0)``."""
    chain, names = _chain(call.func), [keyword.arg for keyword in call.keywords]
    if len(chain) < 2 or any(isinstance(given, ast.Starred) for given in call.args):
        return None
    known = tuple(name for name in names if name is not None)
    return (chain, len(call.args), known) if len(known) == len(names) else None


def _types(node: ast.AST, names: dict[str, Any]) -> type | tuple[type, ...] | None:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    types = tuple(t for t in (_resolve(part, names) for part in parts) if isinstance(t, type))
    return types or None


def _after(path: tuple[str, ...], chain: tuple[str, ...]) -> tuple[str, ...] | None:
    """The rest of a chain after the child at ``path``; None if it leads to another child.

    A chain from ``self`` has the whole path; one from a variable, which may be any module on the
    way, has the end of it.
    """
    root, *attributes = chain or ("",)
    if root == "self":
        return tuple(attributes[len(path) :]) if tuple(attributes[: len(path)]) == path else None
    for length in range(len(path), 0, -1):
        if tuple(attributes[:length]) == path[-length:]:
            return tuple(attributes[length:])
    return None


def _harmless(rest: tuple[str, ...]) -> bool:
    first = rest[0]
    if first in ("weight", "bias"):
        return len(rest) > 1 and rest[1] in _SAME_OF_PARAMETER
    return first == "normalized_shape" or hasattr(nn.Module, first) or first == "training"
