"""One `dyt-bench run`, from the suite to the printed leaderboard."""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from dyt_bench.discovery.domains import Discovery
from dyt_bench.discovery.extensions import LOCAL, mirrors_called
from dyt_bench.errors import CannotWrite, UserError, quoted
from dyt_bench.executors.contract import BudgetSpent, Preempted
from dyt_bench.executors.slots import devices
from dyt_bench.plugin.domain import Metric
from dyt_bench.plugin.task import Run
from dyt_bench.records.record import Result
from dyt_bench.records.workspace import Reported, SuiteRuns, Workspace
from dyt_bench.report import write_report
from dyt_bench.report.group import write_group
from dyt_bench.report.write import reported
from dyt_bench.scheduling.board import Board
from dyt_bench.scheduling.runner import How, Runner
from dyt_bench.scheduling.stopping import LOOKS, RunScore, next_runs
from dyt_bench.scheduling.telling import (
    console,
    print_leaderboard,
    tell,
    tell_effects,
    tell_problems,
)
from dyt_bench.suite.executors import make_executor
from dyt_bench.suite.expand import Suite
from dyt_bench.suite.tuning import chosen
from dyt_bench.tracking import Tracker
from dyt_bench.tracking.address import shown
from dyt_bench.tracking.copies import make_copies
from dyt_bench.verdicts.runs import Evidence
from dyt_bench.verdicts.standings import Standing

# By nothing, by Ctrl-C, by SIGTERM, as the user's budget is spent.
Stopped = Literal["", "interrupted", "pre-empted", "budget"]
_AS_USUAL = How()
_HURRY_S = 1.5  # for MLflow after an interruption; the next run sends the rest


@dataclass(frozen=True)
class Session:
    """What a run came to."""

    suite: Suite
    results: Mapping[str, Result]  # by run identity; runs that have not ended have none
    tracking_uri: str
    experiment_id: str
    out: Path
    stopped: Stopped = ""

    @property
    def exit_status(self) -> int:
        """0 if runs ended by themselves, 1 if one failed, 130 by Ctrl-C, 143 by SIGTERM."""
        if self.stopped in ("interrupted", "pre-empted"):
            return 130 if self.stopped == "interrupted" else 143
        return 1 if any(result.status == "failed" for _, result in self.ended) else 0

    @property
    def ended(self) -> list[tuple[Run, Result]]:
        """The suite's runs that have ended, in its order."""
        runs = self.suite.runs
        return [(run, self.results[run.identity]) for run in runs if run.identity in self.results]

    def summary(self) -> dict[str, Any]:
        """For programs."""
        return {
            "suite": self.suite.name,
            "tracking_uri": self.tracking_uri,
            "experiment_id": self.experiment_id,
            "report": str(self.out / "README.md"),
            "stopped": self.stopped,
            "runs": [
                {
                    "identity": run.identity,
                    "label": run.label,
                    "status": result.status,
                    "reason": result.reason,
                    "first": result.first,
                    "last": result.last,
                }
                for run, result in self.ended
            ],
        }


def run_suite(
    suite: Suite,
    found: Discovery,
    workspace: Workspace,
    *,
    tracking_uri: str | None,
    out: Path,
    how: How = _AS_USUAL,
    until_decided: bool = False,
    budget_s: float | None = None,
    mirrors: Sequence[str] = (),
) -> Session:
    """Run, mirror to MLflow, report and print.

    Args:
        mirrors: names of trackers that get a copy of the runs, too.
        until_decided: add seeds until every verdict stands.
        budget_s: when that is spent, what runs keeps a checkpoint and nothing else is started.

    Raises:
        UserError: a run takes more devices than there are, the tracking store does not answer, a
            folder cannot be written, or another run works in the workspace; nothing has been run
            or written then.
        CannotWrite: the disk is full; what was recorded until then is whole.
    """
    check_devices(suite)
    deadline = None if budget_s is None else time.monotonic() + budget_s
    if suite.executor != LOCAL:  # a cluster that does not answer is told before anything is written
        make_executor(suite.executor, suite.executor_options, [])
    uri = tracking_uri or workspace.tracking_uri
    copies = make_copies(mirrors_called(mirrors), workspace, suite.name)
    tracker = Tracker(uri, f"dyt-bench/{suite.name}", workspace, copies)
    with ExitStack() as stack:
        if tracking_uri is None:  # the store lies in the workspace
            stack.enter_context(workspace.opened())
        with console.status("starting MLflow and the workers"):
            tracker.connect()
        if tracker.problem:
            tell(
                f"MLflow at {shown(uri)} does not answer ({tracker.problem}): training continues "
                "without it, and it is sent everything once it does"
            )
        if tracking_uri is not None:
            stack.enter_context(workspace.opened())
        session = _train(
            suite,
            found,
            workspace,
            tracker,
            out=out,
            how=how,
            until_decided=until_decided,
            deadline=deadline,
        )
        if how.fresh and session.stopped not in ("pre-empted", "budget"):
            workspace.fresh_path(suite.name).unlink(missing_ok=True)
        _conclude(session, tracker, found, workspace, how.fresh)
        if how.keep_weights:
            _tell_weights(session, workspace)
    return session


def check_devices(suite: Suite) -> None:
    """Raise UserError if a run takes more devices than this machine has, where it runs here.

    Or if it takes other nodes than the executor gives it.
    """
    given = int(suite.executor_options.get("nodes", 1))
    for run in suite.runs:
        if run.task.nodes != given:
            raise UserError(
                f"{run.task.label} trains on {run.task.nodes} nodes, and the executor "
                f"{quoted(suite.executor)} gives a run {given}: several need `nodes` in the suite "
                "and in an executor that has it, as in `executor: {name: slurm, nodes: 2}`"
            )
    if suite.executor != LOCAL:
        return
    for run in suite.runs:
        if run.task.devices > devices():
            raise UserError(
                f"{run.task.label} takes {run.task.devices} devices, and this machine has "
                f"{devices()}: give it fewer `devices`, or run it on a larger machine"
            )


def _train(
    suite: Suite,
    found: Discovery,
    workspace: Workspace,
    tracker: Tracker,
    *,
    out: Path,
    how: How,
    until_decided: bool,
    deadline: float | None,
) -> Session:
    """Train the runs, add seeds if asked to, and send the last of them to MLflow."""
    domains = dict.fromkeys(run.task.domain for run in suite.runs)
    metrics = {name: found.metric(name) for name in domains}
    results: dict[str, Result] = {}
    stopped: Stopped = ""
    new: tuple[Run, ...] = suite.runs
    since = workspace.fresh_since(suite.name) if how.fresh else None
    tracker.preview(suite.name, suite.title, suite.runs, found.metric)
    looks = len(LOOKS) if until_decided else 1
    while new and not stopped:
        _set_aside(new, workspace)
        _list_runs(suite, workspace, looks)
        names = {name: metric.name for name, metric in metrics.items()}
        with Board(console, new, names) as board:
            some = replace(suite, runs=new)
            runner = Runner(some, workspace, tracker, board, found, how, since)
            try:
                with _until(deadline):
                    for run, result in runner.run():
                        again = run.identity in results  # with its step time
                        results[run.identity] = result
                        if not again and run.task.split != "tuning":
                            tell_effects(some, run, results, metrics[run.task.domain])
            except KeyboardInterrupt as interruption:
                stopped = _why(interruption)
            except CannotWrite:
                tracker.close(_HURRY_S)
                raise
        new = ()
        if not stopped and suite.tunings:
            new, suite = _at_chosen_rates(suite, results, metrics)
            continue
        if until_decided and not stopped:
            left = None if deadline is None else deadline - time.monotonic()
            judged = [
                run
                for run in suite.runs
                if run.task.split != "tuning" and run.task.budget not in suite.learning
            ]
            decision = next_runs(judged, _outcomes(suite, results, metrics), metrics, left)
            new = decision.runs
            suite = replace(suite, runs=(*suite.runs, *new))
            tell(f"{len(new)} runs more: {decision.why}" if new else f"done: {decision.why}")
    if stopped in ("interrupted", "pre-empted"):
        tracker.close(_HURRY_S)
    else:
        records = [workspace.record(run) for run in suite.runs]
        listed = _list_runs(suite, workspace, looks)
        tracker.summarize(listed, records, found.metric, write_group)
        tracker.close()
    return Session(suite, results, shown(tracker.uri), tracker.experiment_id, out, stopped)


def _at_chosen_rates(
    suite: Suite, results: Mapping[str, Result], metrics: Mapping[str, Metric]
) -> tuple[tuple[Run, ...], Suite]:
    """The runs that the trials chose, and the suite with them; says which rates were chosen."""
    values = {
        identity: score.value for identity, score in _outcomes(suite, results, metrics).items()
    }
    new: list[Run] = []
    for tuning in suite.tunings:
        runs, said = chosen(tuning, values, metrics[tuning.tasks[0].domain])
        new += runs
        tell(said)
    new.sort(key=lambda run: run.task.seed)  # stable: a seed of all models, then the next
    trials = {run.identity for tuning in suite.tunings for run in tuning.trials}
    others = [run for run in suite.runs if run.identity not in trials]
    before = [run for run in suite.runs if run.identity in trials]
    # In the report what was tuned comes first, and what repeats it at other budgets after it.
    return tuple(new), replace(suite, runs=(*before, *new, *others), tunings=())


@contextmanager
def _until(deadline: float | None) -> Iterator[None]:
    """A context that is left with BudgetSpent at the deadline, as SIGTERM leaves it."""
    if deadline is None:
        yield
        return

    def spend(number: int, frame: FrameType | None) -> None:
        raise BudgetSpent

    before = signal.signal(signal.SIGALRM, spend)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, deadline - time.monotonic()))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _why(interruption: KeyboardInterrupt) -> Stopped:
    if isinstance(interruption, BudgetSpent):
        return "budget"
    return "pre-empted" if isinstance(interruption, Preempted) else "interrupted"


def _list_runs(suite: Suite, workspace: Workspace, looks: int) -> SuiteRuns:
    """Record for `report_suite` which runs the suite has, and how often verdicts may end it."""
    runs = SuiteRuns(
        title=suite.title,
        runs=[workspace.record(run).folder.name for run in suite.runs],
        expected={key: Reported(**asdict(value)) for key, value in suite.expected.items()},
        sections=list(suite.sections),
        looks=looks,
        learning=sorted(suite.learning),
    )
    workspace.list_suite(suite.name, runs)
    return runs


def _set_aside(runs: Sequence[Run], workspace: Workspace) -> None:
    """Set aside records that cannot be read, and say so; raises Newer for a later version's."""
    workspace.readable([workspace.record(run) for run in runs])
    if workspace.newer:
        raise workspace.newer[0]
    tell_problems(workspace)


def _outcomes(
    suite: Suite, results: Mapping[str, Result], metrics: Mapping[str, Metric]
) -> dict[str, RunScore]:
    outcomes = {}
    for run in suite.runs:
        result = results[run.identity]
        finished = result.status == "finished"
        value = result.last[metrics[run.task.domain].name] if finished else None
        blind = result.summary.get(f"blind/{metrics[run.task.domain].name}")
        outcomes[run.identity] = RunScore(value, result.ended - result.started, blind)
    return outcomes


def _listed(name: str, workspace: Workspace) -> SuiteRuns:
    """What the suite called ``name`` last ran.

    Raises:
        UserError: no suite of that name has run in this workspace.
    """
    listed = workspace.suite(name)
    if listed is None:
        tell_problems(workspace)
        raise UserError(
            f"no suite called {quoted(name)} has run in {workspace.folder}: "
            f"there are {', '.join(workspace.suites()) or 'none'}"
        )
    return listed


def evidence_of_suite(name: str, found: Discovery, workspace: Workspace) -> Evidence:
    """What the suite called ``name`` last ran, without writing anything.

    Raises:
        UserError: no suite of that name has run in this workspace, or none of its runs has ended.
    """
    listed = _listed(name, workspace)
    records = workspace.readable(workspace.records_of(listed))
    timings = workspace.timings(records)
    compiled = workspace.timings(records, compile=True)
    evidence, unknown = reported(listed, records, found, timings, compiled)
    tell_problems(workspace)
    for sentence in unknown:
        tell(sentence)
    return evidence


def report_suite(name: str, found: Discovery, workspace: Workspace, out: Path) -> list[Standing]:
    """Write the report of what the suite called ``name`` last ran; returns the leaderboard.

    Raises:
        UserError: no suite of that name has run in this workspace.
    """
    listed = _listed(name, workspace)
    records = workspace.readable(workspace.records_of(listed))
    timings = workspace.timings(records)
    compiled = workspace.timings(records, compile=True)
    problems = list(workspace.problems)
    tell_problems(workspace)
    return write_report(listed, records, found, out, timings, compiled, problems)


def _conclude(
    session: Session, tracker: Tracker, found: Discovery, workspace: Workspace, fresh: bool
) -> None:
    """Print how it went and where to look."""
    suite, ended = session.suite, session.ended
    for run, result in ended:
        if result.status != "finished":
            tell(f"{run.label}: {result.status}: {result.reason}")
        for sentence in result.missing:
            tell(f"{run.label}: {sentence}")
    failed = sum(result.status == "failed" for _, result in ended)
    if failed:
        tell(f"{failed} of {len(suite.runs)} runs failed; the same command tries them again")
    if session.stopped:
        word = "the budget is spent" if session.stopped == "budget" else session.stopped
        anew = fresh and session.stopped == "interrupted"
        tell(
            f"{word} with {len(ended)} of {len(suite.runs)} runs done; "
            f"the same command{' without --fresh' if anew else ''} continues"
        )
    if session.stopped == "pre-empted":  # the machine is taken back: there is no time to draw
        return
    is_reported = any(result.last for _, result in ended)
    if is_reported:
        print_leaderboard(report_suite(suite.name, found, workspace, session.out))
    is_default = session.tracking_uri == workspace.tracking_uri
    option = "" if is_default else f" --tracking-uri {session.tracking_uri}"
    if tracker.problem:
        tell(
            f"MLflow did not take everything ({tracker.problem}); the records are whole, and "
            f"this sends the rest: dyt-bench sync {suite.name}{option}"
        )
    if is_reported:
        tell(f"report      {session.out / 'README.md'}")
    tell(f"MLflow      experiment dyt-bench/{suite.name} in {session.tracking_uri}")
    tell(f"to look     dyt-bench ui{option}    (in this repository: nox -s ui)")
    for copies in tracker.copies:
        if copies.problem:
            tell(
                f"the mirror {copies.name} lacks something ({copies.problem}); this sends it: "
                f"dyt-bench sync {suite.name} --mirror {copies.name}"
            )
        tell(f"{copies.name:<11} {copies.mirror.place}")


def _tell_weights(session: Session, workspace: Workspace) -> None:
    """Say where weights are kept, and that runs done before may have none."""
    ended = [workspace.record(run) for run, result in session.ended if result.status == "finished"]
    without = sum(not record.weights_path.exists() for record in ended)
    tell(f"weights     weights.pt in each folder of {workspace.runs}")
    if without:
        tell(f"{without} runs were done before, their weights not kept: --fresh trains again")
