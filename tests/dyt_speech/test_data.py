"""Seconds of speech: the split of the clips, and recordings of the user's own."""

import pytest
import soundfile
import torch

from dyt_bench.errors import DataError
from dyt_speech import domain
from dyt_speech.data import Recording, Windows


def tone(path, *, seconds=2.0, rate=16_000, channels=1, hertz=440.0):
    time = torch.arange(round(seconds * rate)) / rate
    wave = (0.5 * torch.sin(2 * torch.pi * hertz * time)).unsqueeze(1).repeat(1, channels)
    soundfile.write(path, wave.numpy(), rate)
    return path


def test_clips_are_held_out_whole_and_from_both_sources(task):
    data = domain.build_data(task())
    train = {recording.path for recording in data.train.recordings}
    val = {recording.path for recording in data.val.recordings}
    assert not train & val
    assert train | val == set(domain.datasets["clips"].files(None))
    assert len(train | val) == 10
    for side in (train, val):
        assert {path.parent.name for path in side} == {"cards", "librivox"}
    seconds = [sum(r.frames / 16_000 for r in d.recordings) for d in (data.val, data.train)]
    assert seconds[0] / sum(seconds) == pytest.approx(0.24, abs=0.01)


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


def test_windows_start_at_multiples_of_the_hop_and_stay_in_their_recording(tmp_path):
    recordings = [
        Recording.open(tone(tmp_path / "a.wav", seconds=2.5)),
        Recording.open(tone(tmp_path / "b.wav", seconds=1.0, hertz=880)),
    ]
    windows = Windows(recordings, hop=0.5)
    assert len(windows) == 4 + 1
    signal, _ = soundfile.read(recordings[0].path, dtype="float32")
    expected = torch.from_numpy(signal[3 * 8_000 : 3 * 8_000 + 16_000])
    torch.testing.assert_close(recordings[0].second(3, 0.5), expected)
    spectrum = torch.fft.rfft(windows[4]).abs()  # a second: a bin a hertz
    assert spectrum.argmax() == 880
    with pytest.raises(IndexError):
        windows[5]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1)])
def test_any_recording_becomes_16_khz_mono(tmp_path, suffix, rate, channels):
    path = tone(tmp_path / f"tone.{suffix}", rate=rate, channels=channels)
    wave = Recording.open(path).second(0, 1.0)
    assert wave.shape == (16_000,)
    assert torch.fft.rfft(wave).abs().argmax() == 440


def test_silence_stays_silence(tmp_path):
    soundfile.write(tmp_path / "silence.wav", torch.zeros(16_000).numpy(), 16_000)
    windows = Windows([Recording.open(tmp_path / "silence.wav")], hop=1.0)
    assert torch.equal(windows[0], torch.zeros(16_000))


def test_a_folder_of_ones_own(task, tmp_path):
    for number in range(6):
        tone(tmp_path / f"{number}.flac", rate=22_050)
    tone(tmp_path / "short.wav", seconds=0.9)
    data = domain.build_data(task(dataset="folder", path=tmp_path))
    assert [recording.path.stem for recording in data.val.recordings] == ["0", "5"]
    assert len(data.train.recordings) == 4
    assert next(iter(data.train_dataloader())).shape == (4, 16_000)


def test_one_recording_is_too_few_to_hold_one_out(task, tmp_path):
    tone(tmp_path / "long.wav")
    tone(tmp_path / "short.wav", seconds=0.5)
    with pytest.raises(DataError, match=r"1 of 2 recordings last a second .* at least two must"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_a_folder_without_recordings_is_named(task, tmp_path):
    with pytest.raises(DataError, match=r"AUDIO\.wav"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_what_is_no_audio_is_named(task, tmp_path):
    tone(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"b\.wav cannot be read as audio"):
        domain.build_data(task(dataset="folder", path=tmp_path))


def test_a_recording_cut_off_is_named(tmp_path):
    recording = Recording.open(tone(tmp_path / "a.wav"))
    tone(tmp_path / "a.wav", seconds=1.5)
    with pytest.raises(DataError, match=r"a\.wav is cut off"):
        recording.second(1, 1.0)
