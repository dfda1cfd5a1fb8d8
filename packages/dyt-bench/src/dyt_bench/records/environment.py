"""What a result was computed with: machine, versions, commit, and the code itself. No torch."""

import hashlib
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

# Versions worth a place in every record; those that are not installed are left out.
_REPORTED = (
    "torch",
    "torchvision",
    "torchaudio",
    "lightning",
    "timm",
    "diffusers",
    "transformers",
    "mlflow",
    "numpy",
)
_SUFFIXES = (".py", ".cpp", ".h")
# What of the harness decides a run's numbers; the rest may change without rerunning.
_DECISIVE = (
    "training/run.py",
    "training/trainer.py",
    "training/checkpoint.py",
    "training/evaluation.py",
    "training/clock.py",
    "plugin/data.py",
    "plugin/optim.py",
    "plugin/module.py",
)


def fingerprint() -> dict[str, str]:
    """Hardware, versions and commit, as flat text for tags and tables."""
    import psutil

    found = {
        "cpu": _cpu(),
        "cores": str(psutil.cpu_count(logical=False) or psutil.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "commit": commit(),
    }
    for package in _REPORTED:
        if (installed := _version(package)) is not None:
            found[package] = installed
    return found


def commit() -> str:
    """The checked-out commit of this project, "+changes" where the tree differs, or "none"."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        # What a run itself generates does not make the code another.
        changed = _git(here, "status", "--porcelain", "--", ":/", ":(exclude,top)results")
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return f"{head}+changes" if changed else head


def code_digest(package: str, requirements: Iterable[str]) -> str:
    """A hash of all code that decides the numbers of a domain's runs.

    Sources of the core, of the domain's ``package`` and of the harness's training, rather than
    their versions: in a development install the version stays while the code moves. Of the
    libraries the domain asks for (``requirements``, as in its metadata), the versions.
    """
    total = hashlib.sha256()
    for name in ("dyt", package):
        for file in _sources(name):
            total.update(file.read_bytes())
    for name in _DECISIVE:
        total.update((Path(__file__).parents[1] / name).read_bytes())
    names = {found[0] for line in requirements if (found := re.match(r"[\w.-]+", line))}
    for name in sorted(names | {"torch", "lightning", "numpy"}):
        total.update(f"{name}={_version(name)}".encode())
    return total.hexdigest()[:12]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:  # an extra that is not installed
        return None


def _sources(name: str) -> list[Path]:
    """What a package is written in, or the one file of a module."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no package {name!r}")
    if not spec.submodule_search_locations:
        return [Path(spec.origin)]
    folder = Path(spec.submodule_search_locations[0])
    return sorted(file for file in folder.rglob("*") if file.suffix in _SUFFIXES)


def _git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def _cpu() -> str:
    """The processor's name where Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
