"""Arrays kept on the disk: made once, continued where cut off, refused without room."""

from types import SimpleNamespace

import numpy as np
import pytest

from dyt_bench.errors import DataError
from dyt_diffusion import derived
from dyt_diffusion.derived import CHUNK, derived_array, derived_folder


@pytest.fixture
def rows():
    def make(start, stop):
        if start in make.fails_at:
            raise DataError("a broken image")
        make.calls.append((start, stop))
        return np.arange(start, stop, dtype="int16")[:, None]

    make.calls, make.fails_at = [], set()
    return make


def test_it_is_made_once(rows):
    wanted = np.arange(CHUNK + 3, dtype="int16")[:, None]
    for _ in range(2):
        assert np.array_equal(derived_array("once", (CHUNK + 3, 1), "int16", rows), wanted)
    assert rows.calls == [(0, CHUNK), (CHUNK, CHUNK + 3)]


def test_cut_off_it_is_continued(rows):
    rows.fails_at = {CHUNK}
    with pytest.raises(DataError, match="a broken image"):
        derived_array("cut", (CHUNK + 3, 1), "int16", rows)
    rows.fails_at = set()
    array = derived_array("cut", (CHUNK + 3, 1), "int16", rows)
    assert np.array_equal(array[:, 0], np.arange(CHUNK + 3, dtype="int16"))
    assert rows.calls == [(0, CHUNK), (CHUNK, CHUNK + 3)]
    assert [file.suffix for file in sorted(derived_folder().glob("cut*"))] == [".lock", ".npy"]


def test_a_full_disk_is_named_before_anything_is_made(rows, monkeypatch):
    monkeypatch.setattr(derived.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(DataError, match=r"room for 1\.0 GiB, and 4\.0 GiB are needed"):
        derived_array("large", (2**21, 2**10), "int16", rows)
    assert not rows.calls


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, rows):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot write to"):
        derived_array("any", (1, 1), "int16", rows)
