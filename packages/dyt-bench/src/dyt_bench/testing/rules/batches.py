"""Rules about the batches that training and validation see."""

import pickle
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from dyt_bench.executors.contract import JobFailed
from dyt_bench.testing.checked import STEPS, CheckedDomain, set_workers
from dyt_bench.testing.rule import Broken, Remark, rule
from dyt_bench.testing.rules.parts import parts, seeds
from dyt_bench.testing.rules.training import process

WORKERS = 2
_LOOK_S = 2.0  # of processor time for each side: of a large data set, a part is compared
_EPOCHS = 2  # batches are full, so an epoch leaves some samples out


@rule(
    says="No sample is both trained and validated on.",
    why="A model that has seen the answers says nothing about the variant it was trained with.",
    needs=(parts,),
)
def leak(checked: CheckedDomain) -> None:
    data, _, _ = checked.parts
    with checked.calling("the data"):
        data.prepare_data()
        data.setup("fit")
        held_out = set(_samples(_validation(data)))
        train = set(_samples(data.train_dataloader(), _EPOCHS))
    shared = held_out & train
    if shared:
        raise Broken(
            f"{len(shared)} of {len(held_out)} validation samples were trained on as well.",
            "Split the samples before they are batched or cut into windows, and drop duplicates.",
        )


def _validation(data: Any) -> Iterator[Any]:
    """The batches of the validation loader, or of several one after the other."""
    loaders = data.val_dataloader()
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        yield from loader


def _samples(loader: Iterable[Any], epochs: int = 1) -> Iterator[str]:
    from dyt_bench.testing.hashes import samples

    until = time.process_time() + _LOOK_S
    for _ in range(epochs):
        for batch in loader:
            yield from samples(batch)
            if time.process_time() > until:
                return


@rule(
    says="The parts of a loader that go to its worker processes can be pickled: data set, "
    "collate_fn and worker_init_fn.",
    why="Where processes do not start by a fork, as on macOS, they are pickled.",
    needs=(parts,),
)
def pickles(checked: CheckedDomain) -> None:
    loader = _loader(checked)
    for part in ("dataset", "collate_fn", "worker_init_fn"):
        try:
            pickle.dumps(getattr(loader, part))
        except Exception as error:  # pickle raises whatever an object's own code does
            raise Broken(
                f"The training loader's {part} does not pickle: {error}.",
                "Define its class or function at the top of a module, and keep lambdas, open "
                "files and generators out of its attributes.",
            ) from None


@rule(
    says=f"A loader gives the same batches with 0 and with {WORKERS} worker processes, and a run "
    "in a process of its own trains with either.",
    why="Loading faster on a larger machine must not make another experiment of it.",
    # The processes come from the fork server that the rule `process` starts.
    needs=(pickles, seeds, process),
)
def loader_workers(checked: CheckedDomain) -> None:
    from dyt_bench.testing.hashes import digest

    taken: list[list[str]] = []
    for workers in (0, WORKERS):
        loader = _loader(checked)
        set_workers(loader, workers)
        loader.multiprocessing_context = "forkserver" if workers else None
        with checked.calling(f"the training loader with {workers} workers"):
            taken.append([digest(batch) for batch in islice(loader, STEPS)])
    differ = [number for number, pair in enumerate(zip(*taken, strict=True)) if len(set(pair)) > 1]
    if differ:
        raise Broken(
            f"Batch {differ[0]} was another one with {WORKERS} workers than with none.",
            "Let a sample follow from its index alone, or from task.seed and its index: worker "
            "processes share no generator.",
        )
    _check_run(checked)


def _check_run(checked: CheckedDomain) -> None:
    """Whether a run trains with workers as it does without."""
    try:
        run = checked.run_elsewhere(WORKERS)
    except JobFailed as failure:
        raise Broken(
            f"In a process of its own, training with {WORKERS} loader workers failed: {failure} "
            f"({checked.last_line()}).",
            "Open files, and start threads and whatever else the workers use, when the first "
            "sample is read, not when the data set is built: workers start as copies of the run.",
        ) from None
    expected, seen = (each.result.facts["batches"] for each in (checked.run_elsewhere(), run))
    if seen != expected:
        raise Broken(
            f"A run with {WORKERS} loader workers had other batches: hash {seen}, not {expected}.",
            "Let a sample follow from its index alone, or from task.seed and its index.",
        )


def _loader(checked: CheckedDomain) -> Any:
    """A new training loader."""
    from torch.utils.data import DataLoader

    data, _, _ = checked.build()
    with checked.calling("the training data"):
        data.prepare_data()
        data.setup("fit")
        loader = data.train_dataloader()
    if not isinstance(loader, DataLoader):
        raise Remark(f"train_dataloader gives a {type(loader).__name__}, which has no workers.")
    return loader
