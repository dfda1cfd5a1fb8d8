"""What a result was computed with: machine, versions and commit. No torch."""

import contextlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

# Distributions whose versions every record has, if they are installed.
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


@cache
def installed() -> str:
    """Every distribution that is installed with its version, as a file of pip's requirements."""
    found = {dist.metadata["Name"]: dist.version for dist in distributions()}
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found, key=str.lower))


def commit() -> str:
    """The checked-out commit of this project, "+changes" where the tree differs, or "none"."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        # What a run itself generates is no change of the code.
        changed = _git(here, "status", "--porcelain", "--", ":/", ":(exclude,top)results")
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return f"{head}+changes" if changed else head


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:  # an extra that is not installed
        return None


def _git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def processor() -> str:
    """The CPU's name and, where the NVIDIA driver names any, the GPU's: what times depend on."""
    gpus = Path("/proc/driver/nvidia/gpus").glob("*/information")
    models = {line.partition(":")[2].strip() for gpu in gpus for line in _lines(gpu, "Model")}
    return ", ".join([_cpu(), *sorted(models)])


def _lines(file: Path, start: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [line for line in file.read_text().splitlines() if line.startswith(start)]
    return []


def _cpu() -> str:
    """The processor's name where Linux tells it, else what Python knows."""
    lines = _lines(Path("/proc/cpuinfo"), "model name")
    known = lines[0].partition(":")[2].strip() if lines else platform.processor()
    return known or platform.machine()
