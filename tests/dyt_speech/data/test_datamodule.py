"""Windows and crops of speech: the split of the clips, and recordings of the user's own."""

import numpy as np
import pytest
import soundfile
import torch

from dyt_bench.errors import DataError
from dyt_speech import domain
from dyt_speech.data.audio import Recording, decode_all
from dyt_speech.data.datamodule import CropBatches, Windows


def test_clips_are_held_out_whole_and_from_both_sources(task):
    data = domain.build_data(task())
    train = {recording.path for recording in data.train.recordings}
    val = {recording.path for recording in data.val.recordings}
    assert not train & val
    assert train | val == set(domain.datasets["clips"].files(None))
    assert len(train | val) == 10
    for side in (train, val):
        assert {path.parent.name for path in side} == {"cards", "librivox"}
    seconds = [sum(r.length / 16_000 for r in d.recordings) for d in (data.val, data.train)]
    assert seconds[0] / sum(seconds) == pytest.approx(0.24, abs=0.01)
    assert data.left_out == 0


def test_the_prompts_are_held_out_by_the_file_in_every_language(task):
    data = domain.build_data(task(dataset="prompts"))
    train, val = ({r.path for r in side.recordings} for side in (data.train, data.val.dataset))
    assert not train & val
    assert train | val == set(domain.datasets["prompts"].files(None))
    for side in (train, val):
        assert {path.parent.name for path in side} == {"en", "es", "fr", "it", "ru"}
    minutes = len(data.samples) / 16_000 / 60
    assert minutes == pytest.approx(13.1, abs=0.1)


def test_the_prompts_licences_are_beside_them():
    folders = {path.parents[1] for path in domain.datasets["prompts"].files(None)}
    speakers = {
        "cc-by": ("Attribution 3.0", "Carlo Flora", "Maxim Topal"),
        "cc-by-sa": ("Attribution-ShareAlike 3.0", "Allison Smith", "June Wallack"),
    }
    assert {folder.name for folder in folders} == set(speakers)
    for folder in folders:
        notice, licence = ((folder / name).read_text() for name in ("NOTICE", "LICENSE"))
        assert all(said in notice for said in (*speakers[folder.name], "modified"))
        assert speakers[folder.name][0] in licence


def test_the_clips_licence_is_beside_them():
    (folder,) = {path.parents[1] for path in domain.datasets["clips"].files(None)}
    assert "Carnegie Mellon University" in (folder / "LICENSE").read_text()
    assert "PocketSphinx 5.1.1" in (folder / "NOTICE").read_text()


def test_windows_are_seconds_of_zero_mean_and_unit_variance(task):
    data = domain.build_data(task())
    for waves in (next(iter(data.train_dataloader())), *data.val_dataloader()):
        assert waves.shape == (4, 16_000)
        assert waves.dtype == torch.float32
        assert waves.mean(1).abs().max() < 1e-4
        assert waves.std(1) == pytest.approx(torch.ones(4), abs=1e-3)


def test_the_seed_decides_the_order_of_training_and_nothing_else(task):
    def batches(seed):
        data = domain.build_data(task(seed=seed))
        return next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))

    train, val = batches(0)
    again, val_again = batches(0)
    other, val_other = batches(1)
    assert torch.equal(train, again)
    assert not torch.equal(train, other)
    assert torch.equal(val, val_again)
    assert torch.equal(val, val_other)


def test_a_budget_of_samples_bounds_the_training_set_alone(task):
    whole, few = (domain.build_data(task(train_samples=count)) for count in (None, 12))
    assert len(few.train) == 12 < len(whole.train)
    assert len(few.val) == len(whole.val)


def test_a_recording_on_both_sides_is_refused(task, tmp_path, tone):
    for number in range(6):
        tone(tmp_path / f"{number}.wav", hertz=440 + number % 4 + 4 * (number == 5))
    with pytest.raises(DataError, match=r"1 of 2 held-out recordings are among .*/0\.wav; remove"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_a_validation_is_bounded(task, tmp_path, tone):
    for number in range(2):
        tone(tmp_path / f"{number}.wav", seconds=140, hertz=440 + number)
    data = domain.build_data(task(dataset="folder", path=tmp_path))
    assert len(data.val) == 128
    assert torch.equal(*(next(iter(data.val_dataloader())) for _ in range(2)))


def test_windows_start_at_multiples_of_the_hop_and_stay_in_their_recording(tmp_path, tone):
    paths = [tone(tmp_path / "a.wav", seconds=2.5), tone(tmp_path / "b.wav", seconds=1, hertz=880)]
    decoded = decode_all(paths)
    windows = Windows(decoded.samples, decoded.recordings, seconds=1.0, hop=0.5)
    assert len(windows) == 4 + 1
    assert [windows.place(n)[1] for n in range(5)] == [0, 8_000, 16_000, 24_000, 40_000]
    signal, _ = soundfile.read(paths[0], dtype="float32")
    expected = torch.from_numpy(signal[24_000:])
    torch.testing.assert_close(
        windows[3], (expected - expected.mean()) / expected.std(correction=0)
    )
    spectrum = torch.fft.rfft(windows[4]).abs()  # a second: a bin a hertz
    assert spectrum.argmax() == 880
    with pytest.raises(IndexError):
        windows[5]


def test_silence_stays_silence(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    decoded = decode_all([tmp_path / "silence.wav"])
    windows = Windows(decoded.samples, decoded.recordings, seconds=1.0, hop=1.0)
    assert torch.equal(windows[0], torch.zeros(16_000))


def test_a_folder_of_ones_own(task, tmp_path, tone, capsys):
    for number in range(6):
        tone(tmp_path / f"{number}.flac", rate=22_050, hertz=440 + number)
    tone(tmp_path / "short.wav", seconds=0.9)
    (tmp_path / "void.wav").touch()
    data = domain.build_data(task(dataset="folder", path=tmp_path))
    assert [recording.path.stem for recording in data.val.recordings] == ["0", "5"]
    assert len(data.train.recordings) == 4
    assert next(iter(data.train_dataloader())).shape == (4, 16_000)
    assert data.left_out == 2
    log = capsys.readouterr().out
    assert "2 of 8 recordings last less than 1 s and are left out" in log
    assert f"{tmp_path / 'void.wav'} is empty" in log


def test_one_recording_is_too_few_to_hold_one_out(task, tmp_path, tone):
    tone(tmp_path / "long.wav")
    tone(tmp_path / "short.wav", seconds=0.5)
    with pytest.raises(DataError, match=r"1 of 2 recordings last 1 s or more; at least two must"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_a_split_with_an_empty_side_is_named(task, tmp_path, tone):
    for number in range(2):
        tone(tmp_path / "cat" / f"{number}.wav")
    (tmp_path / "validation_list.txt").write_text("")
    with pytest.raises(DataError, match=r"2 are to train on and 0 to validate on"):
        domain.build_data(task(dataset="speech-commands", path=tmp_path))


def recordings(*seconds):
    lengths = [round(16_000 * s) for s in seconds]
    firsts = np.cumsum([0, *lengths])
    return [Recording(None, int(first), n) for first, n in zip(firsts, lengths, strict=False)]


def test_crops_of_a_batch_are_as_long_as_its_shortest_recording(tmp_path):
    ours = recordings(1.0, 5.0, 1.5, 3.0, 2.5, 1.2)
    batches = list(CropBatches(ours, 2, 32_000))
    assert [length for ((_, length), _) in batches] == [16_000, 24_000, 32_000]
    assert [start for batch in batches for start, _ in batch] == [
        ours[n].first for n in (0, 5, 2, 1, 3, 4)
    ]


def test_crops_in_training_take_each_recording_once_from_anywhere_in_it():
    ours = recordings(*[1.0 + 0.37 * n for n in range(9)])
    batches = CropBatches(ours, 2, 32_000, seed=0)
    epochs = [list(batches), list(batches)]
    assert epochs[0] != epochs[1]
    again = CropBatches(ours, 2, 32_000, seed=0)
    again.seek(1, 3)  # training that was cut off resumes with the second epoch's last batch
    assert list(again) == epochs[1][3:]
    by_step = [batches.indices(step).tolist() for step in range(2 * len(batches))]
    assert by_step == [[list(crop) for crop in batch] for batch in (*epochs[0], *epochs[1])]
    for epoch in epochs:
        assert len(epoch) == len(batches) == 4  # the ninth fills no batch
        crops = [crop for batch in epoch for crop in batch]
        taken = [[r for r in ours if r.first <= start][-1] for start, _ in crops]
        assert len(set(taken)) == 8
        for (start, length), recording in zip(crops, taken, strict=True):
            assert start + length <= recording.first + recording.length


def test_librispeech_is_cropped_as_the_paper_does(task, tmp_path, tone):
    for number in range(10):
        name = f"train-clean-100/19/198/19-198-{number:04}.flac"
        tone(tmp_path / "LibriSpeech" / name, seconds=1.7 + 0.3 * number)
    for number in range(3):
        name = f"dev-clean/84/1/84-1-{number:04}.flac"
        tone(tmp_path / "LibriSpeech" / name, seconds=16 - number)
    given = {"model": "wav2vec2-base", "training": "base", "dataset": "librispeech"}
    data = domain.build_data(task(**given, path=tmp_path, batch_size=2, train_samples=6))
    assert data.left_out == 1
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert all(len(batch) == 2 and 32_000 <= batch.shape[1] < 5 * 16_000 for batch in batches)
    shapes = [tuple(batch.shape) for batch in data.val_dataloader()]
    assert shapes == [(2, 14 * 16_000), (1, 250_000)]
