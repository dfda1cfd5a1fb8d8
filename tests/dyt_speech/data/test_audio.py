"""Decoding: any format, rate and number of channels, and what is damaged, named."""

import numpy as np
import pytest
import soundfile

from dyt_bench.errors import DataError
from dyt_speech.data import audio
from dyt_speech.data.audio import decode, decode_all


def loudest(samples):
    """Hertz; of whole seconds."""
    seconds = len(samples) / audio.SAMPLE_RATE
    return np.abs(np.fft.rfft(samples.astype(float))).argmax() / seconds


def test_16_bit_samples_come_back_as_they_are(tmp_path):
    samples = np.arange(-(2**15), 2**15, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    assert np.array_equal(decode(tmp_path / "a.wav"), samples)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1)])
def test_any_recording_becomes_16_khz_mono(tmp_path, tone, suffix, rate, channels):
    samples = decode(tone(tmp_path / f"tone.{suffix}", rate=rate, channels=channels))
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(2 * 16_000, abs=1_600)
    assert loudest(samples) == pytest.approx(440, abs=1)


def test_g722_is_decoded(tmp_path):
    av = pytest.importorskip("av", reason="the extra dyt-speech[g722] is not installed")
    time = np.arange(2 * 16_000) / 16_000
    wave = (8_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    with av.open(str(tmp_path / "a.g722"), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    samples = decode(tmp_path / "a.g722")
    assert len(samples) == pytest.approx(2 * 16_000, abs=640)
    assert loudest(samples) == pytest.approx(440, abs=1)


def test_without_pyav_g722_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.g722").write_bytes(b"\0" * 800)
    with pytest.raises(DataError, match=r"a\.g722 is G\.722, .* pip install av"):
        decode(tmp_path / "a.g722")


def test_an_empty_recording_has_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    for name in ("b.wav", "c.g722"):
        (tmp_path / name).touch()
    decoded = decode_all([tmp_path / name for name in ("a.wav", "b.wav", "c.g722")])
    assert [recording.length for recording in decoded.recordings] == [0, 0, 0]


def test_what_is_no_audio_is_named(tmp_path):
    (tmp_path / "b.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"b\.wav cannot be read as audio"):
        decode(tmp_path / "b.wav")


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("flac", r"damaged after 10 s: .*lost sync"),
        ("mp3", r"damaged after \d+\.\d s: .* promises 30\.0"),
    ],
)
def test_a_recording_cut_off_is_named_with_the_place(tmp_path, tone, suffix, message):
    path = tone(tmp_path / f"a.{suffix}", seconds=30)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"a\.{suffix} is (cut off or )?{message}"):
        decode(path)


def test_a_sample_that_is_no_number_is_named(tmp_path):
    wave = np.zeros(16_000, np.float32)
    wave[4_000] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"a\.wav holds .* no finite number, at 0\.250 s"):
        decode(tmp_path / "a.wav")


@pytest.mark.parametrize("kept", [False, True])
def test_recordings_lie_one_after_another(tmp_path, tone, monkeypatch, kept):
    if kept:
        monkeypatch.setattr(audio, "_IN_MEMORY", 0)
    paths = [tone(tmp_path / f"{n}.wav", seconds=n, hertz=100 * n) for n in (3, 1, 2)]
    decoded = decode_all(paths)
    assert isinstance(decoded.samples, np.memmap) is kept
    assert [recording.path for recording in decoded.recordings] == paths
    for recording, hertz in zip(decoded.recordings, (300, 100, 200), strict=True):
        own = decoded.samples[recording.first : recording.first + recording.length]
        assert np.array_equal(own, decode(recording.path))
        assert loudest(own) == hertz


def test_what_is_kept_is_decoded_once_and_again_when_a_file_changes(
    tmp_path, tone, monkeypatch, cache, capsys
):
    monkeypatch.setattr(audio, "_IN_MEMORY", 0)
    path = tone(tmp_path / "a.wav")
    decode_all([path])
    assert "decoding 1 recordings, once" in capsys.readouterr().out
    decode_all([path])
    assert capsys.readouterr().out == ""
    tone(path, hertz=880)
    assert loudest(decode_all([path]).samples) == 880
    assert len([path for path in (cache / "derived" / "speech").iterdir() if path.is_dir()]) == 2


def test_a_damaged_file_leaves_nothing_in_the_cache(tmp_path, tone, monkeypatch, cache):
    monkeypatch.setattr(audio, "_IN_MEMORY", 0)
    paths = [tone(tmp_path / "a.wav"), tmp_path / "b.wav"]
    paths[1].write_text("no audio")
    with pytest.raises(DataError, match=r"b\.wav"):
        decode_all(paths)
    left = (cache / "derived" / "speech").iterdir()
    assert [path.name for path in left if path.suffix != ".lock"] == []


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path, tone, monkeypatch, cache, unwritable_cache
):
    monkeypatch.setattr(audio, "_IN_MEMORY", 0)
    with pytest.raises(DataError, match=unwritable_cache):
        decode_all([tone(tmp_path / "a.wav")])
