"""Which stretches of a genome are trained on, and which are held out."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dyt_bench.plugin.domain import DataError, listed, quoted
from dyt_dna.data.sequences import Stretch

# The chloroplast is a circle of a large (0 to 84,170) and a small (110,434 to 128,214) single-copy
# region, between two copies of one 26,264-base repeat, the second reversed. Holding out a piece of
# one copy while training on the other would leak it. So the held-out stretches, 20 and 4 windows
# of 1,024, lie in the single-copy regions, away from the short repeats there.
HELD_OUT = ((52_000, 52_000 + 20 * 1024 + 1), (116_000, 116_000 + 4 * 1024 + 1))

_PLACE = re.compile("[0-9]{1,18}")  # more digits than the places of any genome

Interval = tuple[int, int]


@dataclass(frozen=True)
class Split:
    """Stretches of the given strand; the other strand is on the same side."""

    train: list[Stretch]
    val: list[Stretch]
    left_out: str = ""  # what is not used, as a sentence for the log


def held_out_places(chloroplast: Stretch) -> Split:
    """The chloroplast's `HELD_OUT` against the rest."""
    return Split(
        train=[chloroplast[slice(*place)] for place in _between(HELD_OUT, len(chloroplast))],
        val=[chloroplast[slice(*place)] for place in HELD_OUT],
    )


def held_out_ends(sequences: list[Stretch], window: int, source: Path | None) -> Split:
    """Hold out the last tenth of each sequence, and at least one window.

    Raises:
        DataError: no sequence is long enough for a window to train on and another to hold out.
    """
    train, val = [], []
    for sequence in sequences:
        border = len(sequence) - max(len(sequence) // 10, window)
        if border >= window:
            train.append(sequence[:border])
            val.append(sequence[border:])
    if not train:
        longest = max(map(len, sequences))
        raise DataError(
            f"{source or 'the data'}: no sequence of {2 * window} bases or more, to train on one "
            f"window and hold out another; the longest has {longest}"
        )
    short = len(sequences) - len(train)
    left_out = f"{short} of {len(sequences)} sequences have less than {2 * window} bases"
    return Split(train, val, f"{source}: {left_out} and are left out" if short else "")


def by_bed(sequences: Iterable[Stretch], beds: Sequence[Path]) -> Split:
    """Split by the fourth column of BED files: "train" or "valid"; "test" is not used.

    Intervals that touch are one stretch. Where the two sides overlap, the overlap is cut out of
    what is trained on.

    Raises:
        DataError: a line is not such an interval, or lies outside its sequence.
    """
    named: dict[str, Stretch] = {}
    for sequence in sequences:
        if named.setdefault(sequence.name, sequence) is not sequence:
            raise DataError(
                f"two sequences are called {quoted(sequence.name)}, in one file or two: "
                f"{listed(beds)} cannot tell them apart"
            )
    places: dict[str, dict[str, list[Interval]]] = {
        use: defaultdict(list) for use in ("train", "valid", "test")
    }
    for bed in beds:
        for number, line in enumerate(bed.read_text(errors="replace").splitlines(), start=1):
            if line.strip() and not line.startswith(("#", "track", "browser")):
                name, place, use = _interval(line, f"{bed}:{number}", named)
                places[use][name].append(place)
    train, val = [], []
    for name, sequence in named.items():
        held_out = _merged(places["valid"][name])
        val += [sequence[slice(*place)] for place in held_out]
        for start, stop in _merged(places["train"][name]):
            inside = [(max(a, start), min(b, stop)) for a, b in held_out if a < stop and b > start]
            train += [sequence[a:b] for a, b in _between(inside, stop, start)]
    for use, found in {"train": train, "valid": val}.items():
        if not found:
            raise DataError(f"{listed(beds)}: no line says {quoted(use)} in column 4")
    named_by = {name for found in places.values() for name, where in found.items() if where}
    unused = f"{len(named.keys() - named_by)} of {len(named)} sequences are in no line of the BED"
    return Split(train, val, f"{unused} files and are left out" if named.keys() - named_by else "")


def _interval(line: str, where: str, sequences: dict[str, Stretch]) -> tuple[str, Interval, str]:
    columns = line.split("\t")
    if len(columns) < 4 or not all(map(_PLACE.fullmatch, columns[1:3])):
        raise DataError(
            f"{where}: expected sequence, start, end and train, valid or test, divided by tabs, "
            f"got {quoted(line)}"
        )
    name, start, stop, use = columns[0], int(columns[1]), int(columns[2]), columns[3].strip()
    if name not in sequences:
        raise DataError(f"{where}: no sequence is called {quoted(name)}")
    if use not in ("train", "valid", "test"):
        raise DataError(f"{where}: column 4 must be train, valid or test, got {quoted(use)}")
    if not start < stop <= len(sequences[name]):
        raise DataError(
            f"{where}: {start} to {stop} is no part of {quoted(name)}, which has "
            f"{len(sequences[name])} bases"
        )
    return name, (start, stop), use


def _merged(places: list[Interval]) -> list[Interval]:
    """Sorted, with those that touch or overlap joined."""
    merged: list[Interval] = []
    for start, stop in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _between(places: Iterable[Interval], end: int, start: int = 0) -> list[Interval]:
    """What lies between ``start`` and ``end`` outside the places, which are sorted."""
    around = []
    for first, last in places:
        around.append((start, first))
        start = last
    return [(a, b) for a, b in (*around, (start, end)) if b > a]
