"""Examine every architecture of timm, transformers and diffusers: does a swap of its norms run?

    nox -s census                                 all of them, about half an hour on two cores
    nox -s census -- --library timm --sample 50   fifty of one library, evenly spread
    nox -s census -- --json census.json           what was found, one entry an architecture

Each architecture is built small, or else on the meta device, audited and converted. Where its
inputs are known, it is run forward and backward before and after. One worker process at a time does
the work, with limits on time and memory, and is replaced when it dies. Of timm's models that
consist of the same classes only the first is run.
"""

import argparse
import json
import resource
import select
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator

from benchmarks.census.examine import RAN, Examination, examine

from dyt_bench.conversion.zoo import LIBRARIES, library

SECONDS = 60  # for one architecture
GIB = 8  # of memory, for the worker


class OutOfTime(BaseException):
    """Not an Exception, so that no model's own handler stops it."""


def main() -> None:
    arguments = _arguments()
    if arguments.worker:
        work(arguments.library[0])
        return
    found: list[Examination] = []
    for name in arguments.library or LIBRARIES:
        names = library(name).names()
        step = max(1, len(names) // arguments.sample) if arguments.sample else 1
        found += gather(name, names[::step][: arguments.sample or None])
    report(found)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump([row.plain() for row in found], file, indent=1)
    sys.exit(0 if passed(found) else 1)


def gather(source: str, names: list[str]) -> Iterator[Examination]:
    """The examination of each name, in order, by workers that may die."""
    waiting = list(names)
    while waiting:
        command = [sys.executable, "-m", "benchmarks.census", "--worker", "--library", source]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as worker:
            assert worker.stdin is not None
            while waiting:
                name = waiting.pop(0)
                row = _ask(worker, name)
                if row is None:
                    worker.kill()
                    row = Examination(f"{source}:{name}", problem="the worker died or hung")
                print(
                    f"\r{len(names) - len(waiting)}/{len(names)} {row.name:<60}",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
                yield row
                if row.problem == "the worker died or hung":
                    break
            else:
                worker.stdin.close()
    print(file=sys.stderr)


def _ask(worker: "subprocess.Popen[str]", name: str) -> Examination | None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(name + "\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None
    ready, _, _ = select.select([worker.stdout], [], [], 2 * SECONDS + 60)
    line = worker.stdout.readline() if ready else ""
    return Examination(**json.loads(line)) if line else None


def work(source: str) -> None:
    """Answer each name on stdin with a line of JSON."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print, too
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (GIB << 30, GIB << 30))

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, out_of_time)
    shelf = library(source)
    seen: set[object] = set()
    for line in sys.stdin:
        name = line.strip()
        row = Examination(f"{source}:{name}")
        signal.alarm(SECONDS)
        try:
            specimen = shelf.build(name)
            classes = frozenset(type(module) for module in specimen.model.modules())
            # Architectures of transformers and diffusers differ in their classes anyway.
            row = examine(specimen, run=source != "timm" or classes not in seen)
            seen.add(classes)
        except OutOfTime:
            row.problem = f"took more than {SECONDS} s"
        except Exception as error:
            row.problem = f"{type(error).__name__}: {error}".partition("\n")[0]
        finally:
            signal.alarm(0)
        print(json.dumps(row.plain()), file=answers, flush=True)


def report(found: list[Examination]) -> None:
    """Counts by library, then every exception."""
    for source in dict.fromkeys(row.name.partition(":")[0] for row in found):
        rows = [row for row in found if row.name.startswith(f"{source}:")]
        built = [row for row in rows if row.problem is None or row.kinds]
        kinds: Counter[str] = Counter()
        for row in rows:
            kinds.update(row.kinds)
        sites, unknown = kinds.total(), kinds["unknown"]
        swapped = [row for row in rows if row.replaceable]
        tried = [row for row in swapped if row.as_built is not None]
        ran = [row for row in tried if row.as_built == RAN]
        still = [row for row in ran if _runs(row)]
        print(f"{source}: {len(rows)} architectures, {len(built)} built")
        print(
            f"  {sites} norm sites, {sites - unknown} classified "
            f"({100 * (sites - unknown) / max(sites, 1):.2f} %): "
            + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        )
        print(
            f"  {len(swapped)} with replaceable norms, {len(tried)} tried, {len(ran)} ran as built,"
            " "
            f"{len(still)} of these still run forward and backward "
            f"({100 * len(still) / max(len(ran), 1):.2f} %)"
        )
    exceptions(found)


def exceptions(found: Iterable[Examination]) -> None:
    """List what does not convert or run, what is unknown, and which norms are left and why."""
    left: Counter[str] = Counter()
    for row in found:
        left.update(row.left)
        if row.problem is not None:
            print(f"not examined  {row.name}: {row.problem}")
        if row.kinds.get("unknown"):
            print(f"unknown       {row.name}: {row.kinds['unknown']} sites")
        for step in ("converted", "trained", "evaluated", "reverted"):
            outcome = getattr(row, step)
            if outcome not in (None, RAN):
                print(f"not {step:<9} {row.name}: {outcome}")
    for what, count in left.most_common():
        print(f"left in {count:>4}  {what}")


def passed(found: list[Examination]) -> bool:
    """Whether at least 99 % of sites are classified, and 98 % of what ran still runs."""
    sites = sum(sum(row.kinds.values()) for row in found)
    unknown = sum(row.kinds.get("unknown", 0) for row in found)
    ran = [row for row in found if row.replaceable and row.as_built == RAN]
    still = sum(map(_runs, ran))
    return unknown <= 0.01 * sites and still >= 0.98 * len(ran)


def _runs(row: Examination) -> bool:
    return row.converted == row.trained == row.evaluated == RAN


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--library", action="append", choices=LIBRARIES, help="only this; repeatable"
    )
    parser.add_argument("--sample", type=int, help="so many of each library, evenly spread")
    parser.add_argument("--json", help="file for what was found")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
