"""What is said of a user's data that is not what a data set needs."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dyt_bench.errors import UserError
from dyt_bench.testing.examined import ExaminedDomain
from dyt_bench.testing.rule import Broken, Remark, rule

# What a data set may look for: junk that is passed over for its name is not read.
_SUFFIXES = ["", ".bin", ".csv", ".fa", ".flac", ".gz", ".h5", ".jpg", ".json", ".npy", ".npz"]
_SUFFIXES += [".parquet", ".pdb", ".pt", ".png", ".smi", ".tsv", ".txt", ".wav", ".zip"]


@rule(
    says="A path that is not there, an empty folder or a file of junk raises a DataError that "
    "names the path.",
    why="People name their own data wrongly every day, and one sentence is to tell them how.",
    needs=("parts",),
)
def bad_data(examined: ExaminedDomain) -> None:
    datasets = examined.domain.datasets
    names = [name for name, dataset in datasets.items() if dataset.takes_path]
    if not names:
        raise Remark("No data set takes a path.")
    for bad in _bad(examined.folder / "bad"):
        for name in names:
            _check(examined, name, bad)


@dataclass(frozen=True)
class _Bad:
    what: str
    path: Path
    named: Path  # what is to be said at the least
    is_nothing: bool = False  # junk may be data to some, nothing is data to nobody


def _bad(folder: Path) -> Iterator[_Bad]:
    yield _Bad("a path that is not there", folder / "nowhere", folder / "nowhere", is_nothing=True)
    empty = folder / "empty"
    empty.mkdir(parents=True)
    yield _Bad("an empty folder", empty, empty, is_nothing=True)
    junk = random.Random(0).randbytes(4096)
    for suffix in _SUFFIXES:
        below = folder / f"junk{suffix.replace('.', '-')}"
        file = below / "some" / f"junk{suffix}"
        file.parent.mkdir(parents=True)
        file.write_bytes(junk)
        # What a file lacks may be another one beside it: a tokenizer, a table of labels.
        yield _Bad(f"a file of junk ending in {suffix!r}", file, file.parent)
        yield _Bad(f"a folder with a file of junk ending in {suffix!r}", below, below)


def _check(examined: ExaminedDomain, name: str, bad: _Bad) -> None:
    change = (
        "Raise DataError in Dataset.files or build_data, saying what was found in that path and "
        "what was expected; dyt_bench.sources.files_below does it for files by their suffix."
    )
    task = examined.task(dataset=name, path=bad.path)
    try:
        list(examined.domain.datasets[name].files(bad.path))
        data = examined.domain.build_data(task)
        data.prepare_data()
        data.setup("fit")
        for loader in (data.train_dataloader(), data.val_dataloader()):
            next(iter(loader), None)
    except UserError as error:
        if str(bad.named) not in str(error):
            raise Broken(f"{name}, given {bad.what}, said: {error}.", change) from None
    except Exception as error:  # whatever a stranger's reader raises
        raise Broken(
            f"{name}, given {bad.what}, raised {type(error).__name__}: {error} "
            f"({examined.place(error)}).",
            change,
        ) from error
    else:
        if bad.is_nothing:
            raise Broken(f"{name} took {bad.what} without a word.", change)
