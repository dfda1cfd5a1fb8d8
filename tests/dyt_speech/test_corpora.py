"""The layouts of the field's data sets, on small folders of the same layout."""

from urllib.error import URLError

import pytest
from torchaudio.datasets import LIBRISPEECH as LIBRISPEECH_SET
from torchaudio.datasets import SPEECHCOMMANDS

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import fetch, fetched_folder
from dyt_speech import domain
from dyt_speech.corpora import ASTERISK, CORPORA, recordings_of


def paths(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [root / name for name in names]


def names(files):
    return [file.name for file in files]


COMMANDS = ["cat/a_nohash_0.wav", "cat/b_nohash_0.wav", "dog/a_nohash_0.wav", "dog/c_nohash_1.wav"]
LIBRISPEECH = [
    "train-clean-100/19/198/19-198-0000.flac",
    "train-other-500/20/205/20-205-0000.flac",
    "dev-clean/84/121123/84-121123-0000.flac",
    "test-clean/61/70968/61-70968-0000.flac",
]


@pytest.mark.parametrize("inside", ["", "LibriSpeech"])
def test_librispeech_is_split_by_its_parts(tmp_path, inside):
    root = tmp_path / inside
    paths(root, *LIBRISPEECH)
    (root / "SPEAKERS.TXT").write_text(
        ";ID  |SEX| SUBSET\n19   | F | train-clean-100 | 25.1 | A\n84 | M | dev-clean | 8 | B\n"
    )
    corpus = CORPORA["librispeech"]
    recordings = recordings_of(corpus.files(tmp_path))
    assert len(recordings) == 4
    train, val = corpus.split(recordings)
    assert names(train) == ["19-198-0000.flac", "20-205-0000.flac"]
    assert names(val) == ["84-121123-0000.flac"]
    assert [corpus.label(path) for path in (*train, *val)] == ["F", "", "M"]


def test_librispeech_without_a_part_to_validate_on_is_named(tmp_path):
    recordings = paths(tmp_path, *LIBRISPEECH[:2])
    with pytest.raises(DataError, match=r"train-\*/ and dev-\*/.* found train-clean-100, train-o"):
        CORPORA["librispeech"].split(recordings)


@pytest.mark.parametrize("inside", ["", "SpeechCommands/speech_commands_v0.02"])
def test_speech_commands_are_split_by_their_lists(tmp_path, inside):
    root = tmp_path / inside
    paths(root, *COMMANDS, "_background_noise_/pink_noise.wav")
    (root / "validation_list.txt").write_text("cat/b_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("dog/c_nohash_1.wav\n")
    corpus = CORPORA["speech-commands"]
    files = corpus.files(tmp_path)
    assert {"validation_list.txt", "testing_list.txt"} < set(names(files))  # the digest has them
    train, val = corpus.split(recordings_of(files))
    assert [f"{path.parent.name}/{path.name}" for path in train] == [COMMANDS[0], COMMANDS[2]]
    assert names(val) == ["b_nohash_0.wav"]
    assert [corpus.label(path) for path in train] == ["cat", "dog"]


def test_torchaudio_reads_the_same_layouts_the_same_way(tmp_path):
    """Its sets fail where the folders are not as it left them, and split by the same lists."""
    paths(tmp_path / "LibriSpeech", *LIBRISPEECH)
    corpus = CORPORA["librispeech"]
    train, val = corpus.split(recordings_of(corpus.files(tmp_path)))
    for part, ours in (("train-clean-100", train), ("dev-clean", val)):
        theirs = LIBRISPEECH_SET(tmp_path, part)
        assert len(theirs) == sum(path.parents[2].name == part for path in ours) == 1
    root = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    paths(root, *COMMANDS)
    (root / "validation_list.txt").write_text(f"{COMMANDS[1]}\n")
    (root / "testing_list.txt").write_text(f"{COMMANDS[3]}\n")
    corpus = CORPORA["speech-commands"]
    sides = corpus.split(recordings_of(corpus.files(tmp_path)))
    for subset, ours in zip(("training", "validation"), sides, strict=True):
        theirs = SPEECHCOMMANDS(tmp_path, subset=subset)
        found = {
            tmp_path / "SpeechCommands" / theirs.get_metadata(n)[0] for n in range(len(theirs))
        }
        assert found == set(ours)


def test_speech_commands_elsewhere_are_named(tmp_path):
    paths(tmp_path, "cat/a.wav")
    with pytest.raises(DataError, match=r"expected WORD/\*\.wav and validation_list\.txt"):
        CORPORA["speech-commands"].files(tmp_path)


def test_asterisk_is_read_where_it_was_fetched_to():
    root = fetched_folder("speech/asterisk")
    for voice in ASTERISK:
        paths(root, f"{voice}/hello.g722", f"{voice}/digits/1.g722", f"{voice}/silence/1.g722")
    corpus = CORPORA["asterisk"]
    files = recordings_of(corpus.files(None))
    assert len(files) == 2 * len(ASTERISK)
    assert {corpus.label(file) for file in files} == {"en", "es", "fr", "it", "ru"}
    for file in root.glob("it*/**/*.g722"):
        file.unlink()
    with pytest.raises(DataError, match=r"lacks it_IT_m_Carlo: install asterisk-core-sounds-it"):
        corpus.files(None)


@pytest.mark.parametrize("name", ["asterisk", "librispeech", "speech-commands"])
def test_what_is_not_here_says_how_to_get_it(name):
    with pytest.raises(DataError, match=f"dyt-bench data fetch speech/{name}"):
        CORPORA[name].files(None)


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
    assert set(CORPORA[name].files(None)) == kept
    assert set(recordings_of(kept)) == {root / file for file in used}


def test_a_folder_without_recordings_is_named(tmp_path):
    with pytest.raises(DataError, match=r"AUDIO\.wav"):
        CORPORA["folder"].files(tmp_path)
