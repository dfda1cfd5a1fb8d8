"""The files of each data set, and how they are fetched. No torch, no audio library."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from dyt_bench.plugin.domain import DataError, reason
from dyt_bench.plugin.fetch import need
from dyt_bench.plugin.files import files_below, package_file

# What libsndfile decodes and can tell to be whole, and G.722; a test compares them.
SUFFIXES = frozenset(
    {
        *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".g722", ".mp3", ".nist", ".oga"),
        *(".ogg", ".opus", ".rf64", ".snd", ".sph", ".svx", ".voc", ".w64", ".wav", ".wave"),
    }
)
# The folder of each voice -> its Debian package. Two of the languages have the same speaker.
ASTERISK = {
    "en_US_f_Allison": "asterisk-core-sounds-en-g722",
    "es_MX_f_Allison": "asterisk-core-sounds-es-g722",
    "fr_CA_f_June": "asterisk-core-sounds-fr-g722",
    "it_IT_m_Carlo": "asterisk-core-sounds-it-g722",
    "ru_RU_f_IvrvoiceRU": "asterisk-core-sounds-ru-g722",
}
LIBRISPEECH = ("train-clean-100", "dev-clean")  # the parts that are fetched
COMMAND_LISTS = ("validation_list.txt", "testing_list.txt")  # of Speech Commands


def recordings_of(files: Iterable[Path]) -> list[Path]:
    """The audio among a data set's ``files``, sorted by name."""
    return sorted(file for file in files if file.suffix.lower() in SUFFIXES)


def prompts(path: Path | None) -> list[Path]:
    return files_below(package_file("dyt_speech", "prompts"), {".ogg"}, "LICENCE/LANGUAGE/PART.ogg")


def clips(path: Path | None) -> list[Path]:
    return files_below(package_file("dyt_speech", "clips"), {".wav"}, "SOURCE/CLIP.wav")


def folder(path: Path | None) -> list[Path]:
    return files_below(path, SUFFIXES, "AUDIO.wav")


def asterisk(path: Path | None) -> list[Path]:
    patterns = [f"{name}/**/*.g722" for name in ASTERISK]
    found = need("speech/asterisk", patterns, system=[Path("/usr/share/asterisk/sounds")])
    voices = {voice(file) for file in found}
    for name, package in ASTERISK.items():
        if name not in voices:
            raise DataError(
                f"{_voice_folder(found[0]).parent} lacks {name}: install {package}, or remove the "
                "other packages of its kind and run `dyt-bench data fetch speech/asterisk`"
            )
    # Recordings without speech: a second of silence, two seconds of silence, ...
    return [file for file in found if file.parent.name != "silence"]


def voice(path: Path) -> str:
    """The voice of one of Asterisk's prompts: ``en_US_f_Allison``."""
    return _voice_folder(path).name


def _voice_folder(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name in ASTERISK)


def librispeech(path: Path | None) -> list[Path]:
    if path is None:
        return need("speech/librispeech", ["*/*/*/*.flac", "SPEAKERS.TXT"])
    inside = path / "LibriSpeech"
    root = inside if inside.is_dir() else path
    layout = "LibriSpeech/{train,dev}-*/SPEAKER/CHAPTER/*.flac"
    return files_below(root, {".flac", "speakers.txt"}, layout)


def speech_commands(path: Path | None) -> list[Path]:
    if path is None:
        files = need("speech/speech-commands", ["*/*.wav", *COMMAND_LISTS])
    else:
        roots = [path, path / "speech_commands_v0.02", *path.glob("SpeechCommands/*/")]
        root = next((root for root in roots if (root / COMMAND_LISTS[0]).is_file()), None)
        if root is None:
            raise DataError(
                f"{path} holds no Speech Commands: expected WORD/*.wav and {COMMAND_LISTS[0]}, "
                "there or in SpeechCommands/speech_commands_v0.02"
            )
        files = files_below(root, {".wav", *COMMAND_LISTS}, "WORD/CLIP.wav")
    return [file for file in files if file.parent.name != "_background_noise_"]


def fetch_librispeech(folder: Path) -> None:
    """Fill ``folder`` with torchaudio's downloader."""
    from torchaudio.datasets import LIBRISPEECH as Downloader

    for part in LIBRISPEECH:
        _download("speech/librispeech", partial(Downloader, folder, part, download=True))


def fetch_speech_commands(folder: Path) -> None:
    """Fill ``folder`` with torchaudio's downloader."""
    from torchaudio.datasets import SPEECHCOMMANDS as Downloader

    _download("speech/speech-commands", partial(Downloader, folder, download=True))


def _download(name: str, start: Callable[[], object]) -> None:
    from urllib.error import URLError

    try:
        start()
    except (URLError, ConnectionError, TimeoutError) as error:
        raise DataError(
            f"{name} could not be fetched: torchaudio's downloader said: {reason(error)}; is "
            "there a network? To use a copy of your own, name it by path in the suite"
        ) from None
    except RuntimeError as error:  # a hash that differs
        raise DataError(
            f"{name} could not be fetched: {reason(error)}; the same command tries again"
        ) from None


# Data set -> (the user's path) -> its files.
FILES: Mapping[str, Callable[[Path | None], Iterable[Path]]] = {
    "prompts": prompts,
    "clips": clips,
    "asterisk": asterisk,
    "librispeech": librispeech,
    "speech-commands": speech_commands,
    "folder": folder,
}
