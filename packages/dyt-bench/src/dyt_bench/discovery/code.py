"""What code decides a run's numbers: a closure of imports, hashed by syntax. Imports none of it.

A run's identity covers the code it executes, so that old results never count for new code, and so
that an edit which cannot change a number never costs a rerun:

- *Which modules.* Everything that `dyt_bench.training`, the domain's module, or a variant's layer
  imports, at the top of a file or inside a function, followed through ``dyt``, ``dyt_bench``, the
  domain's package and whatever else lies outside site-packages: editable installs, loose files.
  GPU kernels are left out on a machine without a GPU. Of installed libraries the version counts.
- *What of a module.* Its syntax tree without comments, docstrings, type-checking imports and the
  texts of exceptions, warnings and log calls; of C++, everything but comments and white space.
- *A catalogue is data.* Of a module named ``catalog`` the tables ``MODELS``, ``TRAININGS`` and
  ``DATASETS``, and what only they use, are left out: a task holds what it took from them.
"""

import ast
import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dyt_bench.plugin.version1 import successor

__all__ = ["code_digest", "covered"]

TRAINING = "dyt_bench.training"
_OURS = ("dyt", "dyt_bench")
_LIBRARIES = {"torch", "lightning", "numpy"}  # of every run; a domain's own requirements join them
_GPU_ONLY = "dyt._kernels.triton"
_TABLES = {"MODELS", "TRAININGS", "DATASETS"}
_CPP = (".cpp", ".h")


def code_digest(module: str, requirements: Iterable[str] = ()) -> str:
    """A hash of all code that decides the numbers of runs that use ``module``.

    Args:
        module: where an entry point's object is defined: ``dyt_vision``, ``my_package.layers``.
        requirements: of its distribution, as in its metadata: the versions installed count.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    total = hashlib.sha256()
    for name in covered(module):
        file = _file(name)
        total.update(f"{name}={_source_digest(file, file.stat().st_mtime_ns)}\n".encode())
        # What is compiled lies beside its launcher.
        for source in sorted(s for s in file.parent.iterdir() if s.suffix in _CPP):
            digest = _cpp_digest(source, source.stat().st_mtime_ns)
            total.update(f"{source.name}={digest}\n".encode())
    names = {found[0] for line in requirements if (found := re.match(r"[\w.-]+", line))}
    for name in sorted(names | _LIBRARIES):
        total.update(f"{name}={_version(name)}\n".encode())
    return total.hexdigest()[:12]


def covered(module: str) -> list[str]:
    """The modules that `code_digest` hashes, sorted: the closure of training and ``module``.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if _find(module) is None:
        raise ModuleNotFoundError(f"no module {module!r}")
    tops = {*_OURS, module.partition(".")[0]}
    training = _file(TRAINING).parent
    waiting = [module, *(f"{TRAINING}.{file.stem}" for file in sorted(training.glob("*.py")))]
    found: set[str] = set()
    while waiting:
        for name in _with_parents(waiting.pop()):
            if name not in found and _is_followed(name, tops):
                found.add(name)
                file = _file(name)
                waiting += map(successor, _imports(name, file, file.stat().st_mtime_ns))
    return sorted(found)


def _with_parents(name: str) -> Iterator[str]:
    """``a.b.c`` -> a, a.b, a.b.c: importing the last one executes them all."""
    parts = name.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _is_followed(name: str, tops: set[str]) -> bool:
    """Whether the module counts by its source, and not by its distribution's version or not at all.

    ``tops`` are top-level packages that count by their source wherever they are installed.
    """
    if f"{name}.".startswith(f"{_GPU_ONLY}.") and not _has_gpu():
        return False
    file = _find(name)
    return file is not None and (name.partition(".")[0] in tops or _is_local(file))


@cache
def _is_local(file: Path) -> bool:
    """Whether the file is neither the standard library's nor in site-packages."""
    return not _installed_folders() & set(file.resolve().parents)


@cache
def _installed_folders() -> set[Path]:
    paths = sysconfig.get_paths()
    return {Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}


def _has_gpu() -> bool:
    """Whether the machine has one that PyTorch may use, told without PyTorch."""
    nodes = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    return bool(nodes) and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


# Where modules are. Their parents are not imported: a plug-in's import may take seconds.


def _find(name: str) -> Path | None:
    """The module's source; None where there is none."""
    return _look_up(name, tuple(sys.path))


def _file(name: str) -> Path:
    file = _find(name)
    assert file is not None  # whoever asks has found it
    return file


@cache
def _look_up(name: str, path: tuple[str, ...]) -> Path | None:
    parent = name.rpartition(".")[0]
    if parent:
        within = _look_up(parent, path)
        if within is None or within.name != "__init__.py":
            return None
        spec = PathFinder.find_spec(name, [str(within.parent)])
    else:
        try:
            spec = find_spec(name)
        except ValueError:  # of a module like __main__, which has none
            spec = None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # of an extra that is not installed
        return "none"


# What a file imports, and what of it is hashed. Cached by its time of change: five domains share
# most of their code.


@cache
def _imports(name: str, file: Path, changed: int) -> list[str]:
    """Modules that ``name`` may import, at any depth; some of the names may be no modules."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(_executed(file)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*above, node.module] if node.module else above)
            base = base if node.level else str(node.module)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


@cache
def _source_digest(file: Path, changed: int) -> str:
    """A hash of what the file does, not of how it is laid out or what it says to people."""
    text = _canonical(_Wordless().visit(_executed(file)))
    return hashlib.sha256(text.encode()).hexdigest()


def _executed(file: Path) -> ast.Module:
    """The file's syntax tree without ``if TYPE_CHECKING:``, which nothing executes."""
    tree = ast.parse(file.read_bytes(), str(file))
    if file.stem == "catalog":
        _drop_tables(tree)
    return _WithoutTypeChecking().visit(tree)  # type: ignore[no-any-return]


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        test = node.test
        named = test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")
        return node.orelse if named == "TYPE_CHECKING" else self.generic_visit(node)


def _drop_tables(tree: ast.Module) -> None:
    """Remove a catalogue's tables, and private definitions that nothing else uses any more."""
    tree.body = [node for node in tree.body if not _defined(node) & _TABLES]
    while True:
        used = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        kept = [
            node
            for node in tree.body
            if not (names := _defined(node))
            or names & used
            or not all(name.startswith("_") for name in names)
        ]
        if len(kept) == len(tree.body):
            return
        tree.body = kept


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a module gives a meaning."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


_LOGGERS = {"logging", "logger", "log", "warnings"}
_SAYING = {"debug", "info", "warning", "warn", "error", "exception", "critical"}


class _Wordless(ast.NodeTransformer):
    """Empties docstrings and the texts of exceptions, assertions, warnings, prints and logs."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None  # a docstring, or another string that stands alone
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return _Silenced().visit(node)  # type: ignore[no-any-return]

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func
        says = isinstance(called, ast.Name) and called.id in {"print", "warn"}
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            says = called.value.id.strip("_").lower() in _LOGGERS and called.attr in _SAYING
        return _Silenced().generic_visit(node) if says else self.generic_visit(node)


class _Silenced(ast.NodeTransformer):
    """Empties every text below a node."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("")


def _canonical(node: object) -> str:
    """The tree as text. Not `ast.dump`: what that says of one file differs between Pythons."""
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_canonical(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("ctx", "type_comment", "kind")
        )
        return f"{type(node).__name__}({' '.join(fields)})"
    if isinstance(node, list):
        return f"[{' '.join(map(_canonical, node))}]"
    return repr(node)


_CPP_TOKENS = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<space>\s+)""",
    re.DOTALL,
)


@cache
def _cpp_digest(file: Path, changed: int) -> str:
    """A hash of a C++ file without comments and white space, but for that between two words."""

    def kept(match: re.Match[str]) -> str:
        if match["text"] is not None:
            return match["text"]
        # The end of a line ends a directive.
        return "\n" if "\n" in match[0] and match["space"] is not None else " "

    text = _CPP_TOKENS.sub(kept, file.read_text())
    lines = (" ".join(line.split()) for line in text.splitlines())
    code = "\n".join(line for line in lines if line)
    code = re.sub(r"(?m)^(?!#)(.*)\n(?!#)", r"\1 ", code)  # only a directive is its own line
    code = re.sub(r" ?([^\w\s#\"']) ?", r"\1", code)
    return hashlib.sha256(code.encode()).hexdigest()
