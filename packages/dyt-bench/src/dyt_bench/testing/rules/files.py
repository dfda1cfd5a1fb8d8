"""A rule about the messages for user data that a data set cannot read."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dyt_bench.errors import UserError, quoted
from dyt_bench.testing.checked import CheckedDomain
from dyt_bench.testing.rule import Broken, Remark, rule
from dyt_bench.testing.rules.parts import parts

# Suffixes that data sets look for: a file with another suffix would not be read.
_SUFFIXES = ["", ".bin", ".csv", ".fa", ".flac", ".gz", ".h5", ".jpg", ".json", ".npy", ".npz"]
_SUFFIXES += [".parquet", ".pdb", ".pt", ".png", ".smi", ".tsv", ".txt", ".wav", ".zip"]


@rule(
    says="A path that is not there, an empty folder or a file of junk raises a DataError that "
    "names the path.",
    why="A wrong path is the most common mistake with one's own data, and easy to fix if named.",
    needs=(parts,),
)
def bad_data(checked: CheckedDomain) -> None:
    datasets = checked.domain.datasets
    names = [name for name, dataset in datasets.items() if dataset.takes_path]
    if not names:
        raise Remark("No data set takes a path.")
    for bad in _bad(checked.folder / "bad"):
        for name in names:
            _check(checked, name, bad)


@dataclass(frozen=True)
class _Bad:
    what: str
    path: Path
    named: Path  # what the message must name
    is_nothing: bool = False  # junk may be data for some data sets, nothing is data for none


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
        # The message may be about a file missing beside it: a tokenizer, a table of labels.
        yield _Bad(f"a file of junk ending in {quoted(suffix)}", file, file.parent)
        yield _Bad(f"a folder with a file of junk ending in {quoted(suffix)}", below, below)


def _check(checked: CheckedDomain, name: str, bad: _Bad) -> None:
    change = (
        "Raise DataError in Dataset.files or build_data, saying what was found in that path and "
        "what was expected; dyt_bench.plugin.files.files_below does it for files by their suffix."
    )
    task = checked.task(dataset=name, path=bad.path)
    try:
        list(checked.domain.datasets[name].files(bad.path))
        data = checked.domain.build_data(task)
        data.prepare_data()
        data.setup("fit")
        for loader in (data.train_dataloader(), data.val_dataloader()):
            next(iter(loader), None)
    except UserError as error:
        if str(bad.named) not in str(error):
            raise Broken(f"{name}, given {bad.what}, said: {error}.", change) from None
    except Exception as error:  # whatever the domain's reader raises
        raise Broken(
            f"{name}, given {bad.what}, raised {type(error).__name__}: {error} "
            f"({checked.place(error)}).",
            change,
        ) from error
    else:
        if bad.is_nothing:
            raise Broken(f"{name} accepted {bad.what} without an error.", change)
