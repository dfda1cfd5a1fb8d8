"""The domain under test: what several rules need of it is built and trained once."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyt_bench.discovery.domains import flaw, unknown
from dyt_bench.discovery.resolve import resolve
from dyt_bench.errors import UserError, quoted
from dyt_bench.executors.contract import JobStopped
from dyt_bench.executors.local import LocalExecutor
from dyt_bench.plugin.domain import Domain
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.records.record import Record, Result
from dyt_bench.scheduling.jobs import TRAINING, train_run
from dyt_bench.testing.rule import Broken, Rule, RuleResult

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule

STEPS = 4  # of training that only has to run; validated before, halfway and at the end
LOG = "log.txt"
ON_CPU = {"accelerator": "cpu"}  # there, equal means bitwise equal
# A validation of so many batches is enough where the learning does not matter.
BRIEFLY = {**ON_CPU, "limit_val_batches": 4}
NATIVE_VARIANT = Variant()


@dataclass(frozen=True)
class TrainedRun:
    """A run after its training."""

    result: Result
    rows: list[dict[str, float]]
    said: str  # the last line it printed

    def numbers(self) -> list[dict[str, float]]:
        """The rows without the values that depend on the clock and the machine."""
        return [
            {
                name: value
                for name, value in row.items()
                if name.partition("/")[0] not in ("time", "system")
            }
            for row in self.rows
        ]


class WithWorkers:
    """A domain whose training loaders have worker processes."""

    def __init__(self, domain: Domain, workers: int) -> None:
        self.domain, self.workers = domain, workers

    def __getattr__(self, name: str) -> Any:
        if name == "domain":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.domain, name)

    def build_data(self, task: Task) -> LightningDataModule:
        """The domain's data module; each of its training loaders gets the workers."""
        data = self.domain.build_data(task)
        made = data.train_dataloader

        def with_workers() -> Any:
            loader = made()
            set_workers(loader, self.workers)
            return loader

        data.train_dataloader = with_workers  # type: ignore[method-assign]
        return data


def set_workers(loader: Any, workers: int) -> None:
    """Give a new DataLoader so many worker processes."""
    loader.num_workers = workers
    loader.prefetch_factor = 2 if workers else None
    loader.timeout = 60 if workers else 0


class CheckedDomain:
    """One model of a domain on one data set, with the results of the rules so far.

    Args:
        model: by default the domain's first.
        dataset: by default the domain's first.
        path: of the data set, where it takes one.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        model: str | None = None,
        dataset: str | None = None,
        path: Path | None = None,
    ) -> None:
        usable = flaw(domain) is None  # if not, the first rule reports it
        self.domain, self.path = domain, path
        self.model = model or (str(next(iter(domain.models))) if usable else "")
        self.dataset = dataset or (str(next(iter(domain.datasets))) if usable else "")
        self._results: dict[str, RuleResult] = {}
        self._runs: dict[Run, TrainedRun] = {}
        self._elsewhere: dict[int, TrainedRun] = {}  # by the number of loader workers

    def result(self, rule: Rule) -> RuleResult:
        """Whether the domain keeps the rule; skipped if a rule that it needs is broken. Kept."""
        if rule.name not in self._results:
            needed = [self.result(other) for other in rule.needs]
            missing = [other for other in needed if other.state in ("broken", "skipped")]
            if missing:
                seen = f"Not checked: {missing[0].rule.name} does not hold."
                self._results[rule.name] = RuleResult(rule, "skipped", seen)
            else:
                with _quiet():
                    self._results[rule.name] = rule.apply(self)
        return self._results[rule.name]

    @cached_property
    def folder(self) -> Path:
        """A folder for files of the checks; removed with this object, at the latest at exit."""
        folder = tempfile.mkdtemp(prefix="dyt-bench-check-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def task(self, **changes: Any) -> Task:
        """A task of a few steps, with the model's own batch size and rate."""
        model = self.domain.models[self.model]
        task = Task(
            domain=self.domain.name,
            model=self.model,
            dataset=self.dataset,
            path=self.path,
            steps=STEPS,
            batch_size=model.batch_size,
            learning_rate=model.learning_rate,
            training=model.training,
            val_every=STEPS // 2,
        )
        return replace(task, **changes)

    def build(
        self, variant: Variant = NATIVE_VARIANT, **changes: Any
    ) -> tuple[LightningDataModule, LightningModule, list[str]]:
        """Data, module and names of the norms, as training builds them for `task`."""
        from dyt_bench.training.build import build

        with self.calling(f"building with {variant.label}"):
            run = Run(task=self.task(**changes), variant=variant)
            return build(resolve(run, self.domain))

    @cached_property
    def parts(self) -> tuple[LightningDataModule, LightningModule, list[str]]:
        """What `build` returns for the native norm; shared by the rules that only read it."""
        return self.build()

    def run(self, variant: Variant = NATIVE_VARIANT, **changes: Any) -> TrainedRun:
        """Train the task in this process; the same task only once.

        `Domain.evaluate` is called in the first run alone, which is the native norm's.
        """
        run = Run(task=self.task(**changes), variant=variant)
        if run not in self._runs:
            folder, first = self.folder / run.identity, not self._runs
            with self.calling(f"training with {variant.label}"):
                self._runs[run] = train(self.domain, run, folder, evaluate=first)
        return self._runs[run]

    def run_elsewhere(self, workers: int = 0) -> TrainedRun:
        """Train the native norm as `run` does, in a process of the executor's; only once.

        Args:
            workers: of the training loader; 0 leaves it as the domain makes it.

        Raises:
            JobFailed: the process ends without a result.
        """
        if workers not in self._elsewhere:
            import torch

            threads = torch.get_num_threads()  # the number decides the order of sums
            run, folder = Run(task=self.task()), self.folder / f"elsewhere-{workers}"
            executor = LocalExecutor([*TRAINING, *self.domain.preload])
            domain = WithWorkers(self.domain, workers) if workers else self.domain
            job = partial(_job, domain, run, folder, threads)
            with executor.run(job, self.folder / LOG) as running:
                *_, outcome = running
            self._elsewhere[workers] = outcome["value"]
        return self._elsewhere[workers]

    def last_line(self) -> str:
        """What the last process of `run_elsewhere` printed last, for a message."""
        lines = (self.folder / LOG).read_text().splitlines()
        return f"last line of its log: {lines[-1] if lines else 'none'}"

    def run_cut_off(self, after: int) -> TrainedRun:
        """Train the native norm as `run` does, stopped after a step and then resumed."""
        run, folder = Run(task=self.task()), self.folder / "cut-off"

        def stop(event: Mapping[str, Any]) -> None:
            if event["step"] == after:
                signal.raise_signal(signal.SIGTERM)

        with self.calling("training that is stopped and then resumed"):
            with suppress(JobStopped):
                train(self.domain, run, folder, stop)
            return train(self.domain, run, folder, again=True)

    @contextmanager
    def calling(self, what: str) -> Iterator[None]:
        """An exception that the domain raises in this context breaks the current rule."""
        try:
            yield
        except Broken:
            raise
        except JobStopped:  # by a SIGTERM from outside, which the domain did not cause
            raise KeyboardInterrupt from None
        except (Exception, SystemExit) as error:
            said = (str(error).splitlines() or [""])[0]
            start = what if "_" in what else f"{what[0].upper()}{what[1:]}"  # a function's name
            raise Broken(
                f"{start} raised {type(error).__name__}: {said} ({self.place(error)}).",
                "Fix what raised it; the test in pytest shows the traceback.",
            ) from error

    def place(self, error: BaseException) -> str:
        """File and line of the domain's own code that raised, else of the code that did."""
        package = type(self.domain).__module__.partition(".")[0]
        frames = list(traceback.walk_tb(error.__traceback__))
        own = [f for f in frames if f[0].f_globals.get("__name__", "").split(".")[0] == package]
        frame, line = (own or frames)[-1]
        return f"{frame.f_code.co_filename}:{line}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning: what it prints for every Trainer would hide the rules' results."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def train(
    domain: Any,
    run: Run,
    folder: Path,
    tell: Callable[[Mapping[str, Any]], None] = lambda event: None,
    *,
    again: bool = False,
    evaluate: bool = False,
) -> TrainedRun:
    """Train ``run``; ``again`` resumes it. Runs of at most `STEPS` steps validate `BRIEFLY`."""
    record = Record(folder)
    if not again:
        record.begin(run, {})
    with record.log_path.open("a") as log, redirect_stdout(log):
        trainer = BRIEFLY if run.task.steps <= STEPS else ON_CPU
        result = train_run(run, record, tell, domain=domain, trainer=trainer, evaluate=evaluate)
    said = record.log_path.read_text().splitlines()
    return TrainedRun(result, record.rows(), said[-1] if said else "")


def _job(domain: Any, run: Run, folder: Path, threads: int, tell: Any) -> TrainedRun:
    import torch

    torch.set_num_threads(threads)
    return train(domain, run, folder)


def checked_domains(
    domain: Domain, *, models: Sequence[str], dataset: str | None, path: Path | None
) -> list[CheckedDomain]:
    """One for each of the models; by default the first model alone.

    Raises:
        UserError: the domain has no such model or data set, or the data set takes no path.
    """
    usable = flaw(domain) is None
    for model in models if usable else ():
        if model not in domain.models:
            raise UserError(unknown("model", model, domain.models))
    if usable and dataset is not None and dataset not in domain.datasets:
        raise UserError(unknown("data set", dataset, domain.datasets))
    named: Sequence[str | None] = models or [None]
    found = [CheckedDomain(domain, model=model, dataset=dataset, path=path) for model in named]
    chosen = found[0].dataset
    if usable and path is not None and not domain.datasets[chosen].takes_path:
        raise UserError(f"data set {quoted(chosen)} takes no path")
    return found
