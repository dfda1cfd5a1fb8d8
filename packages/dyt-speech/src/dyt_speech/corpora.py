"""Where each data set's recordings lie, which are held out, and what a probe can tell them by.

Read by `dyt-bench plan`: no torch, no audio library.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".g722"})
HELD_OUT = 5  # where nobody has split a data set, every fifth recording by name is validated on
# Debian's package for each voice's folder. Two of the languages have the same speaker.
ASTERISK = {
    "en_US_f_Allison": "asterisk-core-sounds-en-g722",
    "es_MX_f_Allison": "asterisk-core-sounds-es-g722",
    "fr_CA_f_June": "asterisk-core-sounds-fr-g722",
    "it_IT_m_Carlo": "asterisk-core-sounds-it-g722",
    "ru_RU_f_IvrvoiceRU": "asterisk-core-sounds-ru-g722",
}
LIBRISPEECH = ("train-clean-100", "dev-clean")  # the parts that are fetched
Sides = tuple[list[Path], list[Path]]


def by_name(recordings: list[Path]) -> Sides:
    """Every fifth held out."""
    train = [path for number, path in enumerate(recordings) if number % HELD_OUT]
    return train, recordings[::HELD_OUT]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How a data set is laid out."""

    files: Callable[[Path | None], list[Path]]  # all that is read, given the user's path
    split: Callable[[list[Path]], Sides] = by_name  # recordings -> to train, to validate on
    label: Callable[[Path], str]  # what the linear probe tells apart: a recording's class


def _folder_name(path: Path) -> str:
    return path.parent.name


def _clips(path: Path | None) -> list[Path]:
    return files_below(package_file("dyt_speech", "clips"), {".wav"}, "SOURCE/CLIP.wav")


def _folder(path: Path | None) -> list[Path]:
    return files_below(path, SUFFIXES, "AUDIO.wav")


def _asterisk(path: Path | None) -> list[Path]:
    patterns = [f"{voice}/**/*.g722" for voice in ASTERISK]
    found = need("speech/asterisk", patterns, system=[Path("/usr/share/asterisk/sounds")])
    voices = {_voice(file) for file in found}
    for voice, package in ASTERISK.items():
        if voice not in voices:
            raise DataError(
                f"{_voice_folder(found[0]).parent} lacks {voice}: install {package}, or remove the "
                "other packages of its kind and run `dyt-bench data fetch speech/asterisk`"
            )
    # Prompts of nothing: a second of silence, two seconds of silence, ...
    return [file for file in found if file.parent.name != "silence"]


def _voice_folder(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name in ASTERISK)


def _voice(path: Path) -> str:
    return _voice_folder(path).name


def _language(path: Path) -> str:
    return _voice(path).partition("_")[0]


def _librispeech(path: Path | None) -> list[Path]:
    if path is None:
        return need("speech/librispeech", ["*/*/*/*.flac", "SPEAKERS.TXT"])
    inside = path / "LibriSpeech"
    root = inside if inside.is_dir() else path
    files = files_below(root, {".flac"}, "LibriSpeech/{train,dev}-*/SPEAKER/CHAPTER/*.flac")
    speakers = root / "SPEAKERS.TXT"
    return [*files, speakers] if speakers.is_file() else files


def _librispeech_sides(recordings: list[Path]) -> Sides:
    """The parts train-* and dev-*; test-* is nobody's."""
    parts = [(path.parents[2].name, path) for path in recordings]
    train = [path for part, path in parts if part.startswith("train-")]
    val = [path for part, path in parts if part.startswith("dev-")]
    if not train or not val:
        found = ", ".join(sorted({part for part, _ in parts}))
        raise DataError(
            f"LibriSpeech: expected folders train-*/ and dev-*/, each with SPEAKER/CHAPTER/*.flac; "
            f"found {found}"
        )
    return train, val


def _sex(path: Path) -> str:
    """The reader's, of LibriSpeech's own table; no table, no name."""
    return _readers(path.parents[3] / "SPEAKERS.TXT").get(path.parents[1].name, "")


@cache
def _readers(table: Path) -> dict[str, str]:
    """Speaker -> F or M."""
    if not table.is_file():
        return {}
    rows = (line.split("|") for line in table.read_text(errors="replace").splitlines())
    return {row[0].strip(): row[1].strip() for row in rows if len(row) > 1 and row[0][:1] != ";"}


_COMMANDS = ("validation_list.txt", "testing_list.txt")


def _speech_commands(path: Path | None) -> list[Path]:
    if path is None:
        files = need("speech/speech-commands", ["*/*.wav", *_COMMANDS])
    else:
        roots = [path, path / "speech_commands_v0.02", *path.glob("SpeechCommands/*/")]
        root = next((root for root in roots if (root / _COMMANDS[0]).is_file()), None)
        if root is None:
            raise DataError(
                f"{path} holds no Speech Commands: expected WORD/*.wav and {_COMMANDS[0]}, there "
                "or in SpeechCommands/speech_commands_v0.02"
            )
        lists = [root / name for name in _COMMANDS if (root / name).is_file()]
        files = [*files_below(root, {".wav"}, "WORD/CLIP.wav"), *lists]
    return [file for file in files if file.parent.name != "_background_noise_"]


def _speech_commands_sides(recordings: list[Path]) -> Sides:
    """The data set's own lists, by which no speaker is on two sides; its test set is nobody's."""
    validation, testing = (_listed(recordings[0].parents[1] / name) for name in _COMMANDS)
    named = [(f"{path.parent.name}/{path.name}", path) for path in recordings]
    val = [path for name, path in named if name in validation]
    return [path for name, path in named if name not in validation | testing], val


def _listed(file: Path) -> set[str]:
    return set(file.read_text().split()) if file.is_file() else set()


CORPORA = {
    "clips": Corpus(files=_clips, label=_folder_name),
    "asterisk": Corpus(files=_asterisk, label=_language),
    "librispeech": Corpus(files=_librispeech, split=_librispeech_sides, label=_sex),
    "speech-commands": Corpus(
        files=_speech_commands, split=_speech_commands_sides, label=_folder_name
    ),
    "folder": Corpus(files=_folder, label=_folder_name),
}


def load_librispeech(folder: Path) -> None:
    """Fill ``folder`` by torchaudio's downloader."""
    from torchaudio.datasets import LIBRISPEECH as Downloader

    for part in LIBRISPEECH:
        _download("speech/librispeech", lambda part=part: Downloader(folder, part, download=True))


def load_speech_commands(folder: Path) -> None:
    """Fill ``folder`` by torchaudio's downloader."""
    from torchaudio.datasets import SPEECHCOMMANDS as Downloader

    _download("speech/speech-commands", lambda: Downloader(folder, download=True))


def _download(name: str, start: Callable[[], object]) -> None:
    from urllib.error import URLError

    try:
        start()
    except (URLError, ConnectionError, TimeoutError) as error:
        raise DataError(
            f"{name} could not be fetched: torchaudio's downloader said: {error}; is there a "
            "network? A copy of your own is read as well: name it by path in a suite"
        ) from None
    except RuntimeError as error:  # a hash that differs
        raise DataError(
            f"{name} could not be fetched: {error}; the same command tries again"
        ) from None


def recordings_of(files: Iterable[Path]) -> list[Path]:
    """Those of a corpus's ``files`` that are audio, in the order of names."""
    return sorted(file for file in files if file.suffix.lower() in SUFFIXES)
