"""The files of each data set: where they are looked for, and how they are fetched."""

from urllib.error import URLError

import pytest

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import fetch, fetched_folder
from dyt_speech import domain
from dyt_speech.data.files import ASTERISK, recordings_of
from dyt_speech.data.splits import SPLITS

FILES = {name: dataset.files for name, dataset in domain.datasets.items()}


def paths(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [root / name for name in names]


COMMANDS = ["cat/a_nohash_0.wav", "cat/b_nohash_0.wav", "dog/a_nohash_0.wav", "dog/c_nohash_1.wav"]
LIBRISPEECH = [
    "train-clean-100/19/198/19-198-0000.flac",
    "train-other-500/20/205/20-205-0000.flac",
    "dev-clean/84/121123/84-121123-0000.flac",
    "test-clean/61/70968/61-70968-0000.flac",
]


def test_speech_commands_elsewhere_are_named(tmp_path):
    paths(tmp_path, "cat/a.wav")
    with pytest.raises(DataError, match=r"expected WORD/\*\.wav and validation_list\.txt"):
        FILES["speech-commands"](tmp_path)


def test_asterisk_is_read_where_it_was_fetched_to():
    root = fetched_folder("speech/asterisk")
    for voice in ASTERISK:
        paths(root, f"{voice}/hello.g722", f"{voice}/digits/1.g722", f"{voice}/silence/1.g722")
    files = recordings_of(FILES["asterisk"](None))
    assert len(files) == 2 * len(ASTERISK)
    assert {SPLITS["asterisk"].label(file) for file in files} == {"en", "es", "fr", "it", "ru"}
    for file in root.glob("it*/**/*.g722"):
        file.unlink()
    with pytest.raises(DataError, match=r"lacks it_IT_m_Carlo: install asterisk-core-sounds-it"):
        FILES["asterisk"](None)


@pytest.mark.parametrize("name", ["asterisk", "librispeech", "speech-commands"])
def test_what_is_not_here_says_how_to_get_it(name):
    with pytest.raises(DataError, match=f"dyt-bench data fetch speech/{name}"):
        FILES[name](None)


def no_network(*args, **options):
    raise URLError("no route to host")


@pytest.mark.parametrize(
    ("name", "loader", "layout", "used"),
    [
        (
            "librispeech",
            "LIBRISPEECH",
            [f"LibriSpeech/{name}" for name in ("SPEAKERS.TXT", *LIBRISPEECH)],
            LIBRISPEECH,
        ),
        (
            "speech-commands",
            "SPEECHCOMMANDS",
            [
                f"SpeechCommands/speech_commands_v0.02/{name}"
                for name in ("validation_list.txt", "testing_list.txt", *COMMANDS)
            ],
            COMMANDS,
        ),
    ],
)
def test_what_torchaudio_downloads_is_kept_without_the_archive(
    monkeypatch, name, loader, layout, used
):
    source = domain.datasets[name].fetch
    monkeypatch.setattr(f"torchaudio.datasets.{loader}", no_network)
    with pytest.raises(DataError, match=r"could not be fetched: .* is there a network"):
        fetch(f"speech/{name}", source, tell=print)

    def downloaded(folder, *args, **options):
        for file in paths(folder, *layout, "archive.tar.gz"):
            file.write_text(file.name)

    monkeypatch.setattr(f"torchaudio.datasets.{loader}", downloaded)
    root = fetch(f"speech/{name}", source, tell=print)
    kept = {file for file in root.rglob("*") if file.is_file()}
    assert set(FILES[name](None)) == kept
    assert set(recordings_of(kept)) == {root / file for file in used}


def test_a_folder_without_recordings_is_named(tmp_path):
    with pytest.raises(DataError, match=r"AUDIO\.wav"):
        FILES["folder"](tmp_path)
