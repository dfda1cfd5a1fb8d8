"""Which recordings of each data set are held out, and which label a probe predicts. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dyt_bench.plugin.domain import DataError, listed
from dyt_speech.data.files import COMMAND_LISTS, voice

HELD_OUT = 5  # of a data set without a split of its own, every fifth recording by name

Sides = tuple[list[Path], list[Path]]  # to train on, to validate on


def by_name(recordings: list[Path]) -> Sides:
    """Hold out every fifth recording."""
    train = [path for number, path in enumerate(recordings) if number % HELD_OUT]
    return train, recordings[::HELD_OUT]


@dataclass(frozen=True, kw_only=True)
class Split:
    """How the recordings of a data set are divided and labelled."""

    sides: Callable[[list[Path]], Sides] = by_name
    label: Callable[[Path], str]  # the class that the linear probe predicts; "" for none


def _folder_name(path: Path) -> str:
    return path.parent.name


def _language(path: Path) -> str:
    return voice(path).partition("_")[0]


def _librispeech_sides(recordings: list[Path]) -> Sides:
    """The parts train-* and dev-*; test-* is not used."""
    parts = [(path.parents[2].name, path) for path in recordings]
    train = [path for part, path in parts if part.startswith("train-")]
    val = [path for part, path in parts if part.startswith("dev-")]
    if not train or not val:
        found = listed(sorted({part for part, _ in parts}))
        raise DataError(
            f"LibriSpeech: expected folders train-*/ and dev-*/, each with SPEAKER/CHAPTER/*.flac; "
            f"found {found}"
        )
    return train, val


def _sex(path: Path) -> str:
    """The reader's sex, from LibriSpeech's own table; empty without the table."""
    return _readers(path.parents[3] / "SPEAKERS.TXT").get(path.parents[1].name, "")


@cache
def _readers(table: Path) -> dict[str, str]:
    """Speaker -> F or M."""
    if not table.is_file():
        return {}
    rows = (line.split("|") for line in table.read_text(errors="replace").splitlines())
    return {row[0].strip(): row[1].strip() for row in rows if len(row) > 1 and row[0][:1] != ";"}


def _speech_commands_sides(recordings: list[Path]) -> Sides:
    """The data set's own lists, which keep each speaker on one side; its test set is not used."""
    validation, testing = (_listed(recordings[0].parents[1] / name) for name in COMMAND_LISTS)
    named = [(f"{path.parent.name}/{path.name}", path) for path in recordings]
    val = [path for name, path in named if name in validation]
    return [path for name, path in named if name not in validation | testing], val


def _listed(file: Path) -> set[str]:
    return set(file.read_text().split()) if file.is_file() else set()


SPLITS = {
    "prompts": Split(label=_folder_name),
    "clips": Split(label=_folder_name),
    "asterisk": Split(label=_language),
    "librispeech": Split(sides=_librispeech_sides, label=_sex),
    "speech-commands": Split(sides=_speech_commands_sides, label=_folder_name),
    "folder": Split(label=_folder_name),
}
