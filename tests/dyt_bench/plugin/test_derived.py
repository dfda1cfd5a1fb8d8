"""Derived files: made once, whole or not at all, and one sentence where the cache is not usable."""

import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dyt_bench.errors import DataError
from dyt_bench.plugin import derived as module
from dyt_bench.plugin.code import closure_digest
from dyt_bench.plugin.derived import CHUNK, derived, derived_array


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    return folder


def never(path):
    raise AssertionError(f"{path} was to be there already")


def left(cache):
    """What lies in the folder of derived files, but for locks."""
    files = (cache / "derived").rglob("*")
    return sorted(file.name for file in files if file.suffix != ".lock")


@pytest.fixture(autouse=True)
def plain_names(monkeypatch):
    """Names without the digest of the code, but where that is tested."""
    monkeypatch.setattr(module, "closure_digest", lambda name: "")


def test_a_file_made_by_other_code_is_made_again(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "closure_digest", closure_digest)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shades.py").write_text("def shade(): return 1\n")
    maker = tmp_path / "painter.py"
    text = "from shades import shade\ndef paint(path): path.write_text(str(shade()))\n"
    maker.write_text(text)
    import painter

    first = derived("paint.txt", painter.paint)
    assert derived("paint.txt", partial(painter.paint)) == first
    maker.write_text(f"# a comment\n{text}")
    assert derived("paint.txt", painter.paint) == first
    (tmp_path / "shades.py").write_text("def shade(): return 2\n")
    assert derived("paint.txt", painter.paint) != first


def test_a_file_is_made_once(cache):
    path = derived("llm/words.txt", lambda path: path.write_text("to be"))
    assert path == cache / "derived" / "llm" / "words.txt"
    assert derived("llm/words.txt", never).read_text() == "to be"
    assert left(cache) == ["llm", "words.txt"]


def test_a_folder_is_made_once(cache):
    def make(path):
        path.mkdir()
        (path / "train").write_text("to")
        (path.parent / "scratch").write_text("not kept")

    path = derived("llm/streams", make)
    assert derived("llm/streams", never) == path
    assert [file.name for file in path.iterdir()] == ["train"]
    assert left(cache) == ["llm", "streams", "train"]


def test_what_a_process_made_meanwhile_is_taken(cache):
    """The lock is not had before the other's file is there."""
    code = (
        "import sys, time; from dyt_bench.plugin.derived import derived\n"
        "def make(path):\n"
        "    print('making', flush=True); time.sleep(0.5); path.write_text('one of four')\n"
        "print(derived('dna/genome', make).read_text())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [process.communicate()[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert [lines[-1] for lines in told] == ["one of four"] * 4
    assert sum(lines.count("making") for lines in told) == 1


def test_a_wait_is_reported(cache, capsys):
    code = (
        "import time; from dyt_bench.plugin.derived import derived\n"
        "def make(path):\n"
        "    print('making', flush=True); time.sleep(1); path.write_text('slow')\n"
        "derived('slow', make)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "making\n"
    assert derived("slow", never).read_text() == "slow"
    assert "waiting for another process, which makes " in capsys.readouterr().out
    other.communicate()
    assert other.returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_crash_in_the_middle_leaves_nothing_that_looks_whole(cache, sent):
    code = (
        "import signal, time; from dyt_bench.plugin.derived import derived\n"
        # Ignored in what a shell starts in the background, and inherited.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def make(path):\n"
        "    path.mkdir(); (path / 'half').touch(); print('half', flush=True); time.sleep(60)\n"
        "derived('speech/samples', make)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(sent)
    process.communicate()
    assert not (cache / "derived" / "speech" / "samples").exists()

    def make(path):
        assert not path.exists()
        path.mkdir()
        (path / "whole").touch()

    path = derived("speech/samples", make)
    assert [file.name for file in path.iterdir()] == ["whole"]
    assert left(cache) == ["samples", "speech", "whole"]


def test_what_make_raises_is_raised_and_nothing_is_left(cache):
    def make(path):
        path.write_text("half")
        raise DataError("page 3 is blank")

    with pytest.raises(DataError, match=r"^page 3 is blank$"):
        derived("llm/pages", make)
    assert left(cache) == ["llm"]


def test_a_file_that_make_cannot_read_is_named(cache, tmp_path):
    gone = tmp_path / "gone.txt"
    with pytest.raises(DataError, match=r"cannot make words: .*gone\.txt: No such file"):
        derived("llm/words", lambda path: path.write_text(gone.read_text()))


def test_make_must_write_its_path(cache):
    with pytest.raises(ValueError, match=r"make must write .*/llm/words\.partial/words"):
        derived("llm/words", lambda path: None)
    assert left(cache) == ["llm"]


# ---- a cache that cannot be written ----


@pytest.mark.parametrize("place", [".", "derived", "derived/llm"])
def test_a_file_in_the_place_of_a_folder(cache, place):
    (cache / place).parent.mkdir(parents=True, exist_ok=True)
    (cache / place).touch()
    with pytest.raises(DataError) as raised:
        derived("llm/words", never)
    assert str(raised.value) == (
        f"cannot write below {cache}/derived/llm: a file is in the place of a folder; "
        "set DYT_BENCH_DATA to a folder that can be written and has room"
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder(cache, monkeypatch, number):
    """Simulated: a test may run as the administrator, who may write everywhere."""
    mkdir = Path.mkdir

    def refuse(path, *args, **options):
        if path.is_relative_to(cache):
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=f"{os.strerror(number)}; set DYT_BENCH_DATA to"):
        derived("llm/words", never)


def test_a_read_only_folder_serves_what_is_there(cache, monkeypatch):
    path = derived("llm/words", lambda path: path.write_text("to be"))

    def refuse(path, *args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    path.with_name("words.lock").unlink()
    assert derived("llm/words", never) == path
    assert not path.with_name("words.lock").exists()


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """A real file system of 64 KiB; skipped where none may be mounted."""
    folder = tmp_path_factory.mktemp("full")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes an administrator")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def by_python(path):
    path.write_bytes(bytes(2**20))


def by_numpy(path):
    with path.open("wb") as file:
        np.zeros(2**20, np.uint8).tofile(file)


def by_torch(path):
    with path.open("wb") as file:
        torch.save(torch.zeros(2**18), file)


def by_many_files(path):
    path.mkdir()
    for number in range(100):
        (path / str(number)).write_bytes(bytes(2**12))


@pytest.mark.parametrize("make", [by_python, by_numpy, by_torch, by_many_files])
def test_a_full_disk(full_disk, monkeypatch, make):
    monkeypatch.setenv("DYT_BENCH_DATA", str(full_disk))
    with pytest.raises(DataError, match=r"^cannot write below .*; set DYT_BENCH_DATA to a folder"):
        derived("any/thing", make)
    assert left(full_disk) == ["any"]


def test_a_disk_known_to_be_too_small_is_named_before_anything_is_made(cache, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(DataError, match=r"room for 1\.0 GiB, and 4\.0 GiB are needed: set DYT_"):
        derived("large", never, size=2**32)
    assert left(cache) == []


# ---- resumption ----


def test_what_was_made_before_a_failure_is_found_again(cache):
    def make(path):
        with path.open("a") as file:
            file.write("half ")
        if path.read_text() == "half ":
            raise DataError("the network is gone")

    with pytest.raises(DataError, match="the network is gone"):
        derived("llm/halves", make, resume=True)
    assert not (cache / "derived" / "llm" / "halves").exists()
    assert derived("llm/halves", make, resume=True).read_text() == "half half "
    assert left(cache) == ["halves", "llm"]


@pytest.fixture
def rows():
    def make(start, stop):
        if start in make.fails_at:
            raise DataError("a broken image")
        make.calls.append((start, stop))
        return np.arange(start, stop, dtype="int16")[:, None]

    make.calls, make.fails_at = [], set()
    return make


def test_an_array_is_made_once(rows):
    wanted = np.arange(CHUNK + 3, dtype="int16")[:, None]
    for _ in range(2):
        array = derived_array("once.npy", (CHUNK + 3, 1), "int16", rows)
        assert isinstance(array, np.memmap)
        assert array.dtype == "int16"
        assert np.array_equal(array, wanted)
    assert rows.calls == [(0, CHUNK), (CHUNK, CHUNK + 3)]


def test_an_array_is_resumed(cache, rows):
    rows.fails_at = {CHUNK}
    with pytest.raises(DataError, match="a broken image"):
        derived_array("cut.npy", (CHUNK + 3, 1), "int16", rows)
    with (cache / "derived" / "cut.npy.partial" / "cut.npy").open("ab") as file:
        file.write(b"half a chunk, of a process that was killed")
    rows.fails_at = set()
    array = derived_array("cut.npy", (CHUNK + 3, 1), "int16", rows)
    assert np.array_equal(array[:, 0], np.arange(CHUNK + 3, dtype="int16"))
    assert rows.calls == [(0, CHUNK), (CHUNK, CHUNK + 3)]
    assert left(cache) == ["cut.npy"]


def test_an_array_cut_off_in_its_header_is_begun_again(cache, rows):
    partial = cache / "derived" / "cut.npy.partial" / "cut.npy"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"\x93NUMPY\x01")
    array = derived_array("cut.npy", (3, 1), "int16", rows)
    assert np.array_equal(array[:, 0], np.arange(3, dtype="int16"))
    assert rows.calls == [(0, 3)]


def test_an_array_on_a_disk_that_fills_up_is_resumed_where_there_is_room(
    full_disk, monkeypatch, rows
):
    """An error and no signal: it is not written through a memory map."""
    monkeypatch.setenv("DYT_BENCH_DATA", str(full_disk))
    other = full_disk / "of-another-program"
    usage = module.shutil.disk_usage

    def fill_afterwards(folder):
        free = usage(folder)
        other.write_bytes(bytes(free.free - 2**12))
        return free

    monkeypatch.setattr(module.shutil, "disk_usage", fill_afterwards)
    with pytest.raises(DataError, match="No space left on device; set DYT_BENCH_DATA"):
        derived_array("disk.npy", (2**13, 1), "int16", rows)
    assert rows.calls
    other.unlink()
    monkeypatch.setattr(module.shutil, "disk_usage", usage)
    array = derived_array("disk.npy", (2**13, 1), "int16", rows)
    assert np.array_equal(array[:, 0], np.arange(2**13, dtype="int16"))


def test_progress_is_printed(rows, monkeypatch, capsys):
    monkeypatch.setattr(time, "monotonic", iter(range(0, 1000, 20)).__next__)
    derived_array("slow.npy", (4 * CHUNK, 1), "int16", rows)
    assert capsys.readouterr().out == "slow: 512 of 1,024\nslow: 1,024 of 1,024\n"


def test_rows_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"rows must return shape \(3, 2\), got \(3,\)"):
        derived_array("wrong.npy", (3, 2), "int16", lambda start, stop: np.zeros(stop - start))


def test_importing_it_imports_no_torch():
    code = "import sys, dyt_bench.plugin.derived; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
