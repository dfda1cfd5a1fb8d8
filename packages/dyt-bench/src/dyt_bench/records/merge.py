"""Merge workspaces: what has ended in several, on one machine or many, into one.

Records are told apart by their identity: data, code, versions and options. The same run of two
machines is therefore kept once, and seeds that each ran alone are compared together.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dyt_bench.errors import CannotWrite, UserError
from dyt_bench.records.home import Origin, peek, write_origin
from dyt_bench.records.record import Record, Result
from dyt_bench.records.stored import Unreadable
from dyt_bench.records.workspace import SuiteRuns, Workspace

_NOT_COPIED = ("lock", "checkpoint", "*.partial")


@dataclass
class Merged:
    """What a merge did."""

    suites: list[str] = field(default_factory=list)
    new: int = 0  # records that were copied
    there: int = 0  # that the workspace had, with the same numbers
    differ: list[str] = field(default_factory=list)  # that it had with others: its own were kept
    open: int = 0  # left out, as they have not ended
    problems: list[str] = field(default_factory=list)  # what could not be read, a sentence each


def merge(sources: Sequence[Path], into: Workspace) -> Merged:
    """Copy what has ended in ``sources`` into a workspace; nothing is written into the sources.

    The runs of suites with one name are put together, in the order of the sources. Of a run that
    several have, the first is kept, and what ``into`` has before all others.

    Raises:
        UserError: a source is no workspace, is ``into`` itself, or was written by a later version;
            nothing has been copied then.
        CannotWrite: the disk is full; what was copied until then is whole.
    """
    spaces = [_source(folder, into) for folder in sources]
    merged = Merged()
    listed = [_suites(space) for space in spaces]
    with into.opened():
        for space, suites in zip(spaces, listed, strict=True):
            for name, runs in suites.items():
                kept = [name for name in runs.runs if _take(space, name, into, merged)]
                _list(name, replace(runs, runs=kept), into)
            _copy_times(space, into)
        merged.suites = sorted({name for suites in listed for name in suites})
    return merged


def _source(folder: Path, into: Workspace) -> Workspace:
    if not (folder / "runs").is_dir():
        raise UserError(
            f"{folder} is no workspace, for it has no folder runs: name the folder .dyt-bench of "
            "another machine, or a copy of it"
        )
    if into.folder.exists() and os.path.samefile(folder, into.folder):
        raise UserError(
            f"{folder} is the workspace that the others are merged into: leave it out, or name "
            "another with --workspace"
        )
    return Workspace(folder)


def _suites(space: Workspace) -> dict[str, SuiteRuns]:
    found = {name: space.listed(name) for name in space.suites()}
    return {name: runs for name, runs in found.items() if runs is not None}


def _take(space: Workspace, name: str, into: Workspace, merged: Merged) -> bool:
    """Copy a record, unless it is there; whether the workspace has it afterwards."""
    source, own = Record(space.runs / name), Record(into.runs / name)
    try:
        source.check(name.rpartition("-")[2])
        result = source.result()
    except Unreadable as problem:
        merged.problems.append(f"{problem}; it is left out")
        return False
    if result is None or result.status == "failed":
        merged.open += 1
        return own.begun
    there = into.readable([own])
    known = own.result() if there else None
    if known is not None and known.status != "failed":
        if _numbers(known) == _numbers(result):
            merged.there += 1
        else:
            merged.differ.append(name)
        return True
    _copy(source, own, peek(space.folder))
    merged.new += 1
    return True


def _numbers(result: Result) -> tuple[object, ...]:
    """What a run computed; how long it took differs by machine."""
    last = {key: value for key, value in result.last.items() if not key.startswith("time/")}
    return result.status, last, result.facts.get("weights"), result.facts.get("batches")


def _copy(source: Record, own: Record, made: Origin | None) -> None:
    """Copy a record, whole or not at all; ``made`` says where it comes from."""
    part = own.folder.with_name(f".{own.folder.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(
            source.folder, part, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED)
        )
        if (origin := source.origin() or made) is not None:
            write_origin(Record(part).origin_path, origin)
        shutil.rmtree(own.folder, ignore_errors=True)
        os.rename(part, own.folder)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(part, ignore_errors=True)
        first = error if isinstance(error, OSError) else OSError(str(error))
        raise CannotWrite(own.folder, first) from error


def _list(name: str, runs: SuiteRuns, into: Workspace) -> None:
    """Add the runs of a suite to those that the workspace has of the same name."""
    own = into.suite(name)
    if own is not None:
        runs = SuiteRuns(
            title=own.title,
            runs=_each(own.runs, runs.runs),
            expected={**runs.expected, **own.expected},
            sections=_each(own.sections, runs.sections),
            looks=max(own.looks, runs.looks),
            learning=_each(own.learning, runs.learning),
        )
    if runs.runs:
        into.list_suite(name, runs)


def _each(*lists: Iterable[str]) -> list[str]:
    """All, in order, each once."""
    return list(dict.fromkeys(item for some in lists for item in some))


def _copy_times(space: Workspace, into: Workspace) -> None:
    """Copy times of steps, whose names have the processor in them."""
    for file in sorted((space.folder / "timings").glob("*.json")):
        own = into.folder / "timings" / file.name
        if not own.exists() and file.is_file():
            part = own.with_name(own.name + ".partial")
            try:
                shutil.copy2(file, part)
                os.replace(part, own)
            except OSError as error:
                raise CannotWrite(own, error) from error
