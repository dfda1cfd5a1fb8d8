"""What code decides a run's numbers: a closure of imports, hashed by syntax. Imports none of it.

A run's identity covers the code it executes, so that old results do not count for new code, and
edits that change no number rarely cost a rerun:

- *Which modules.* Everything that `dyt_bench.training`, the domain's module, or a variant's layer
  imports, at the top of a file or inside a function, followed through ``dyt``, ``dyt_bench``, the
  domain's package and whatever else lies outside site-packages: editable installs, loose files.
  Kernels for a GPU are left out on a machine without one. Of installed libraries the version
  counts. A name that is computed while the program runs is not followed.
- *What of a module.* Its syntax tree without comments, docstrings, type-checking imports, the
  texts of exceptions, warnings and log calls, and what a metric is called; of C++ everything but
  comments and white space. Other files beside a module count byte by byte.
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
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from dyt_bench.plugin.version1 import successor

__all__ = ["closure", "closure_digest", "code_digest", "covered"]

TRAINING = "dyt_bench.training"
_OURS = ("dyt", "dyt_bench")
# What passes a run to training. Hashed, but not followed: most of what they import only reports.
_CALLERS = ("dyt_bench.discovery.resolve", "dyt_bench.scheduling.jobs")
_LIBRARIES = {"torch", "lightning", "numpy"}  # of every run; a domain's own requirements join them
_GPU_ONLY = "dyt._kernels.triton"
_TABLES = {"MODELS", "TRAININGS", "DATASETS"}
_CPP = {".cpp", ".cc", ".cu", ".cuh", ".h", ".hpp"}
_NO_CODE = {".py", ".pyc", ".pyi", ".md", ".so", ".dylib", ".pyd", ".typed", ".jinja"}


def code_digest(module: str, requirements: Iterable[str] = ()) -> str:
    """A hash of all code that decides the numbers of runs that use ``module``.

    Args:
        module: where an entry point's object is defined: ``dyt_vision``, ``my_package.layers``.
        requirements: of its distribution, as in its metadata: the versions installed count.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    total = hashlib.sha256()
    for name in (*covered(module), *_CALLERS):
        total.update(f"{name}={_module_digest(name)}\n".encode())
    for name in sorted(_names(requirements) | _LIBRARIES):
        total.update(f"{name}={_version(name)}\n".encode())
    # The one variable of the environment that chooses between kernels, which round differently.
    total.update(os.environ.get("DYT_BACKEND", "").encode())
    return total.hexdigest()[:12]


def covered(module: str) -> list[str]:
    """The modules that `code_digest` follows, sorted: the closure of training and ``module``.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    training = _file(TRAINING).parent
    parts = [f"{TRAINING}.{file.stem}" for file in sorted(training.glob("*.py"))]
    return closure([module, *parts], (*_OURS, module.partition(".")[0]))


def closure_digest(module: str) -> str:
    """A hash of what ``module`` and its own imports do, and of the libraries its package requires.

    Neither the harness nor the packages around a module count. For what is made once and kept:
    see `dyt_bench.plugin.derived`.
    """
    top = module.partition(".")[0]
    total = hashlib.sha256()
    for name in closure([module], (top,), parents=False):
        if name.partition(".")[0] not in _OURS:
            total.update(f"{name}={_module_digest(name)}\n".encode())
    try:
        required = _names(requires(top.replace("_", "-")) or ())
    except PackageNotFoundError:  # a loose module
        required = set()
    for name in sorted(required):
        total.update(f"{name}={_version(name)}\n".encode())
    return total.hexdigest()[:12]


def closure(modules: Iterable[str], tops: Iterable[str], *, parents: bool = True) -> list[str]:
    """The modules and all that they import, as far as it counts by its source; sorted.

    Args:
        tops: top-level packages that count by their source wherever they are installed.
        parents: whether the packages around a module, which are imported with it, count too.

    Raises:
        ModuleNotFoundError: one of ``modules`` does not exist.
    """
    waiting, sources = list(modules), set(tops)
    for name in waiting:
        if _find(name) is None:
            raise ModuleNotFoundError(f"no module {name!r}")
    found: set[str] = set()
    while waiting:
        last = waiting.pop()
        for name in _with_parents(last) if parents else (last,):
            if name not in found and _is_followed(name, sources):
                found.add(name)
                file = _file(name)
                waiting += map(successor, _imports(name, file, file.stat().st_mtime_ns))
    return sorted(found)


def _module_digest(name: str) -> str:
    """A hash of the module's source and, in a package, of the other files beside it.

    Beside a module of no package may lie anything: the user's suites, results that a run writes.
    """
    file = _file(name)
    total = hashlib.sha256(_source_digest(file, file.stat().st_mtime_ns).encode())
    in_package = "." in name or file.name == "__init__.py"
    for other in sorted(file.parent.iterdir()) if in_package else ():
        if other.suffix not in _NO_CODE and other.is_file():
            digest = _file_digest(other, other.stat().st_mtime_ns)
            total.update(f"{other.name}={digest}\n".encode())
    return total.hexdigest()


def _names(requirements: Iterable[str]) -> set[str]:
    return {found[0] for line in requirements if (found := re.match(r"[\w.-]+", line))}


def _with_parents(name: str) -> Iterator[str]:
    """``a.b.c`` -> a, a.b, a.b.c: importing the last one executes them all."""
    parts = name.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _is_followed(name: str, tops: set[str]) -> bool:
    """Whether the module counts by its source: ours, a plug-in's, or outside site-packages."""
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
    return _locate(name, path)[0]


@cache
def _locate(name: str, path: tuple[str, ...]) -> tuple[Path | None, tuple[Path, ...]]:
    """The module's source, and the folders of its submodules; a folder may have no __init__.py."""
    parent, _, last = name.rpartition(".")
    if not parent:
        try:
            spec = find_spec(name)
        except ValueError:  # of a module like __main__, which has none
            spec = None
        origin = "" if spec is None else spec.origin or ""
        folders = () if spec is None else spec.submodule_search_locations or ()
        return Path(origin) if origin.endswith(".py") else None, tuple(map(Path, folders))
    for folder in _locate(parent, path)[1]:
        package = folder / last
        if (package / "__init__.py").is_file():
            return package / "__init__.py", (package,)
        if (folder / f"{last}.py").is_file():
            return folder / f"{last}.py", ()
        if package.is_dir():
            return None, (package,)
    return None, ()


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
        elif isinstance(node, ast.Call) and (literal := _imported_by_name(node)):
            found.append(literal)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*above, node.module] if node.module else above)
            base = base if node.level else str(node.module)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def _imported_by_name(node: ast.Call) -> str | None:
    """``x`` of ``import_module("x")``."""
    called = (
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    )
    argument = node.args[0] if node.args else None
    is_import = called in ("import_module", "__import__") and isinstance(argument, ast.Constant)
    return str(argument.value) if is_import and isinstance(argument, ast.Constant) else None


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
_NAMED_FOR_PEOPLE = {"title", "margin", "reference"}  # of a Metric: verdicts and tables read them


class _Wordless(ast.NodeTransformer):
    """Empties docstrings and the texts of exceptions, assertions, warnings, prints and logs."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None  # a docstring, or another string that stands alone
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            _silence(node.exc)
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        says = name.endswith(("Error", "Exception", "Warning"))
        if isinstance(called, ast.Name):
            says = says or name in {"print", "warn"}
        elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            logger = called.value.id.strip("_").lower()
            says = says or (logger in _LOGGERS and name in _SAYING)
        if says:
            _silence(node)
        if name == "Metric":
            node.keywords = [key for key in node.keywords if key.arg not in _NAMED_FOR_PEOPLE]
        return self.generic_visit(node)


def _silence(call: ast.Call) -> None:
    """Empty the texts among a call's arguments; what they compute stays."""
    call.args = [_silent(argument) for argument in call.args]
    for keyword in call.keywords:
        keyword.value = _silent(keyword.value)


def _silent(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ast.Constant("")
    if isinstance(node, ast.JoinedStr):
        values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        # Names and attributes alone compute nothing: another sentence may leave them out.
        return ast.Tuple([each for each in values if not _is_plain(each)], ast.Load())
    return node


def _is_plain(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_plain(node.value))


def _canonical(node: object) -> str:
    """The tree as text. Not `ast.dump`: what that says of one file differs between Pythons."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts to an f-string
        values = [value for value in node.values if getattr(value, "value", None) != ""]
        return f"JoinedStr(values={_canonical(values)})" if values else "JoinedStr()"
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
def _file_digest(file: Path, changed: int) -> str:
    """A hash of a file beside a module; of C++ without comments, and white space between words."""
    if file.suffix not in _CPP:
        return hashlib.sha256(file.read_bytes()).hexdigest()

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
