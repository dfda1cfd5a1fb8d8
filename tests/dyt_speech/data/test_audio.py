"""Decoding: any format, rate and number of channels, and what is damaged, named."""

import os
import shutil
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from dyt_bench.errors import DataError
from dyt_bench.plugin.notices import collected
from dyt_speech.data import audio
from dyt_speech.data.audio import decode, decode_all, speed
from dyt_speech.data.files import SUFFIXES
from dyt_speech.data.mpeg import frames


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


def written(path, seconds=3, **options):
    """Noise, which no encoder can leave out."""
    wave = (np.random.default_rng(0).standard_normal(16_000 * seconds) * 0.1).astype("f4")
    soundfile.write(path, wave, 16_000, **options)
    return path


# Suffix -> how libsndfile names what it writes there, where that is not the suffix.
WRITTEN = {
    **{key: {"format": "AIFF"} for key in (".aif", ".aiff", ".aifc")},
    **{key: {"format": "AU"} for key in (".au", ".snd")},
    **{key: {"format": "OGG"} for key in (".ogg", ".oga")},
    **{key: {"format": "WAV"} for key in (".wav", ".wave")},
    **{key: {"format": "NIST", "subtype": "PCM_16"} for key in (".nist", ".sph")},
    ".opus": {"format": "OGG", "subtype": "OPUS"},
    ".svx": {"format": "SVX", "subtype": "PCM_16"},
    ".rf64": {"format": "RF64"},
    **{f".{name}": {"format": name.upper()} for name in ("caf", "flac", "mp3", "voc", "w64")},
}


def test_every_suffix_that_is_listed_is_decoded():
    assert SUFFIXES - {".g722"} == WRITTEN.keys()


@pytest.mark.parametrize("suffix", WRITTEN)
def test_every_recording_is_read_whole_or_named(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", **WRITTEN[suffix])
    assert len(decode(path)) == pytest.approx(48_000, abs=100)
    content = path.read_bytes()
    for share in (0.02, 0.5, 0.9, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=rf"a\{suffix} (is|cannot be read)"):
            decode(path)


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_file_from_a_pipe_is_read_to_its_end(tmp_path, size):
    """Its length was not known when its header was written."""
    path = written(tmp_path / "a.wav")
    whole = decode(path)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    with collected() as notices:
        assert np.array_equal(decode(path), whole)
    assert notices.sentences() == [
        f"recordings that do not tell their length, read to their end: 1, in {path}"
    ]


def test_a_wav_file_without_samples_is_empty_whatever_follows(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), 16_000)
    chunk = b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    content = path.read_bytes() + chunk
    path.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:])
    assert len(decode(path)) == 0


def id3(size):
    """A tag with a picture of zeros."""
    length = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + bytes(size)


@pytest.mark.parametrize("tag", [b"", id3(60_000)], ids=["plain", "with a picture"])
@pytest.mark.parametrize("kind", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("order", [1, -1], ids=["loud first", "quiet first"])
def test_an_mp3_file_that_does_not_tell_its_length_is_read_to_its_end(tmp_path, tag, kind, order):
    time = np.arange(80_000)
    loudness = np.where(time < 40_000, 0.1, 1e-4)[::order]
    wave = np.random.default_rng(0).standard_normal(80_000) * loudness
    path = tmp_path / "a.mp3"
    soundfile.write(path, wave, 16_000, bitrate_mode=kind, compression_level=0.5)
    content = path.read_bytes()
    second = content.index(content[:2], 4)  # the first frame tells the length
    path.write_bytes(tag + content[second:])
    assert len(decode(path)) == pytest.approx(80_000, abs=3_000)
    found = frames(path.read_bytes())
    assert (found.promised, found.complete, found.skipped) == (None, True, 0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a\.mp3 is cut off or damaged: the last of \d+ frames"):
        decode(path)


def test_damage_between_the_frames_of_an_mp3_file_is_named(tmp_path):
    path = written(tmp_path / "a.mp3")
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + 3_000] = bytes(range(100)) * 30
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp3 is (cut off or )?damaged"):
        decode(path)


def test_samples_beyond_full_scale_are_counted(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5, 1.5, -2.0, 1.0]), 16_000, subtype="FLOAT")
    with collected() as notices:
        assert decode(tmp_path / "a.wav").tolist() == [2**14, 2**15 - 1, -(2**15), 2**15 - 1]
    assert notices.sentences() == [
        f"samples beyond full scale, clipped to it: 2, in {tmp_path}/a.wav"
    ]


@pytest.mark.parametrize("kept", [False, True])
def test_all_bad_recordings_are_named_at_once_or_left_out(tmp_path, tone, monkeypatch, kept):
    if kept:
        monkeypatch.setattr(audio, "_IN_MEMORY", 0)
    good = [tone(tmp_path / f"{n}.wav", seconds=1) for n in range(3)]
    bad = [tmp_path / f"bad{n:02}.wav" for n in range(20)]
    for path in bad:
        path.write_bytes(b"RIFF\0\0\0\0WAVE")
    paths = [*good[:2], *bad, good[2]]
    with pytest.raises(DataError) as raised:
        decode_all(paths)
    said = str(raised.value)
    assert said.startswith("20 of 23 files cannot be read; fix or remove them")
    assert [path.name in said for path in bad] == [True] * 10 + [False] * 10
    for _ in range(2):
        with collected() as notices:
            decoded = decode_all(paths, skip=True)
        assert [recording.path for recording in decoded.recordings] == good
        assert [recording.length for recording in decoded.recordings] == [16_000] * 3
        assert "20 of 23 files cannot be read and are left out" in notices.sentences()[0]


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


def test_samples_belong_to_the_content_not_to_the_time_or_the_folder(
    tmp_path, tone, monkeypatch, cache, capsys
):
    monkeypatch.setattr(audio, "_IN_MEMORY", 0)
    (tmp_path / "one").mkdir()
    path = tone(tmp_path / "one" / "a.wav", hertz=440)
    decode_all([path])
    before = path.stat()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(path, (1, 1))
    capsys.readouterr()
    copy = tmp_path / "two" / "a.wav"
    assert [r.path for f in (path, copy) for r in decode_all([f]).recordings] == [path, copy]
    assert capsys.readouterr().out == ""  # neither is decoded again
    tone(path, hertz=880)  # of the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert loudest(decode_all([path]).samples) == 880


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


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_common_rates_are_resampled_exactly(rate):
    assert speed(rate) == Fraction(rate, 16_000)


@pytest.mark.parametrize("rate", [1_333, 7_919, 8_002, 11_127, 15_999, 16_001, 16_004, 767_999])
def test_no_rate_asks_for_a_large_filter(rate):
    by = speed(rate)
    assert by.numerator * by.denominator < 4.3e6
    assert float(by * 16_000 / rate) == pytest.approx(1, abs=2.5e-4)


def test_a_rate_that_is_nearly_16_khz_keeps_its_samples(tmp_path):
    samples = np.arange(-500, 500, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_001)
    assert (decode(tmp_path / "a.wav") == samples).all()


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_a_rate_that_no_recorder_has_is_refused(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.zeros(10), rate)
    with pytest.raises(DataError, match=f"a.wav has {rate:,} samples a second: expected 1,000 to"):
        decode(tmp_path / "a.wav")


def test_a_recording_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dyt_speech.data.audio._MOST", 16_000 * 20)
    soundfile.write(tmp_path / "a.flac", np.zeros(16_000 * 60), 16_000)
    with pytest.raises(DataError, match=r"a.flac lasts more than 0.0 h, the most that is read at"):
        decode(tmp_path / "a.flac")
