"""The splits and labels of the field's data sets, on small folders of the same layout."""

import pytest
from torchaudio.datasets import LIBRISPEECH as LIBRISPEECH_SET
from torchaudio.datasets import SPEECHCOMMANDS

from dyt_bench.plugin.domain import DataError
from dyt_speech import domain
from dyt_speech.data.files import recordings_of
from dyt_speech.data.splits import SPLITS

FILES = {name: dataset.files for name, dataset in domain.datasets.items()}


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
    split = SPLITS["librispeech"]
    recordings = recordings_of(FILES["librispeech"](tmp_path))
    assert len(recordings) == 4
    train, val = split.sides(recordings)
    assert names(train) == ["19-198-0000.flac", "20-205-0000.flac"]
    assert names(val) == ["84-121123-0000.flac"]
    assert [split.label(path) for path in (*train, *val)] == ["F", "", "M"]


def test_librispeech_without_a_part_to_validate_on_is_named(tmp_path):
    recordings = paths(tmp_path, *LIBRISPEECH[:2])
    with pytest.raises(DataError, match=r"train-\*/ and dev-\*/.* found train-clean-100, train-o"):
        SPLITS["librispeech"].sides(recordings)


@pytest.mark.parametrize("inside", ["", "SpeechCommands/speech_commands_v0.02"])
def test_speech_commands_are_split_by_their_lists(tmp_path, inside):
    root = tmp_path / inside
    paths(root, *COMMANDS, "_background_noise_/pink_noise.wav")
    (root / "validation_list.txt").write_text("cat/b_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("dog/c_nohash_1.wav\n")
    split = SPLITS["speech-commands"]
    files = FILES["speech-commands"](tmp_path)
    assert {"validation_list.txt", "testing_list.txt"} < set(names(files))  # the digest has them
    train, val = split.sides(recordings_of(files))
    assert [f"{path.parent.name}/{path.name}" for path in train] == [COMMANDS[0], COMMANDS[2]]
    assert names(val) == ["b_nohash_0.wav"]
    assert [split.label(path) for path in train] == ["cat", "dog"]


def test_torchaudio_reads_the_same_layouts_the_same_way(tmp_path):
    """Its sets fail where the folders are not as it left them, and split by the same lists."""
    paths(tmp_path / "LibriSpeech", *LIBRISPEECH)
    files = FILES["librispeech"](tmp_path)
    train, val = SPLITS["librispeech"].sides(recordings_of(files))
    for part, ours in (("train-clean-100", train), ("dev-clean", val)):
        theirs = LIBRISPEECH_SET(tmp_path, part)
        assert len(theirs) == sum(path.parents[2].name == part for path in ours) == 1
    root = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    paths(root, *COMMANDS)
    (root / "validation_list.txt").write_text(f"{COMMANDS[1]}\n")
    (root / "testing_list.txt").write_text(f"{COMMANDS[3]}\n")
    files = FILES["speech-commands"](tmp_path)
    sides = SPLITS["speech-commands"].sides(recordings_of(files))
    for subset, ours in zip(("training", "validation"), sides, strict=True):
        theirs = SPEECHCOMMANDS(tmp_path, subset=subset)
        found = {
            tmp_path / "SpeechCommands" / theirs.get_metadata(n)[0] for n in range(len(theirs))
        }
        assert found == set(ours)
