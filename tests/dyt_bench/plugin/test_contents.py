"""The hash of a data set: it changes with whatever training sees, and with nothing else."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dyt_bench.plugin import contents
from dyt_bench.plugin.fetch import fetched_folder
from dyt_bench.plugin.files import digest_files, walk

SUFFIXES = {".txt"}
FILES = ["a/1.txt", "a/2.txt", "b/1.txt", "b/sub/3.txt"]


def plant(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A new file takes the place of the old one: it has another inode, whatever the clock says.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
    return path


def read(root):
    """As a data set does whose labels are folders: label and content of each sample, in order."""
    files = walk(root, SUFFIXES).files
    return [(file.relative_to(root).parts[0], file.read_bytes()) for file in files]


def identity(root):
    return digest_files(walk(root, SUFFIXES).files, root)


def move(root, source, target):
    if (root / source).exists():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / source).replace(root / target)


def rename_folder(root, source, target):
    if (root / source).is_dir() and not (root / target).exists():
        (root / source).rename(root / target)


def swap(root, one, other):
    if (root / one).exists() and (root / other).exists():
        move(root, one, "kept")
        move(root, other, one)
        move(root, "kept", other)


def write(root, name, content):
    plant(root, name, content)


def remove(root, name):
    (root / name).unlink(missing_ok=True)


def link(root, name, content):
    target = plant(root.parent, f"elsewhere-{content.hex()}", content)
    (root / name).unlink(missing_ok=True)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


names = st.sampled_from([*FILES, "c/1.txt", "a/0.txt", "a/1.TXT", "b/2.txt"])
bytes_ = st.sampled_from([b"", b"x", b"y", b"xy"])
classes = st.sampled_from(["a", "b", "c", "A"])
edits = st.one_of(
    st.tuples(st.just(move), names, names),
    st.tuples(st.just(rename_folder), classes, classes),
    st.tuples(st.just(swap), names, names),
    st.tuples(st.just(write), names, bytes_),
    st.tuples(st.just(remove), names),
    st.tuples(st.just(link), names, bytes_),
)
touched = st.sampled_from(FILES)
unseen = st.sampled_from(
    [".x.txt", "a/._1.txt", ".git/1.txt", "__MACOSX/a/1.txt", "b/Thumbs.db", "notes.md", "a/x.gif"]
)
harmless = st.one_of(
    st.tuples(st.just(write), unseen, bytes_),
    st.tuples(st.just(lambda root, name: os.utime(root / name, (1, 1))), touched),
    st.tuples(st.just(lambda root, name: (root / name).chmod(0o600)), touched),
    st.tuples(st.just(lambda root, name: (root / name).mkdir(exist_ok=True)), st.just("empty")),
)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hashes.db"


@pytest.fixture
def large(cached, monkeypatch):
    """As if every data set were large, and no file had changed a moment ago."""
    monkeypatch.setattr(contents, "_KEEP_FROM", 0)
    monkeypatch.setattr(contents, "_SETTLED_NS", -(10**18))
    return cached


@pytest.fixture(params=["cached", "large"])
def any_size(request):
    return request.getfixturevalue(request.param)


@contextmanager
def a_tree():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        for number, name in enumerate(FILES):
            plant(root, name, b"x" * (number % 2))
        yield root


many = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)


@many
@given(changes=st.lists(edits, max_size=3))
def test_what_changes_a_sample_or_a_label_changes_the_hash(any_size, changes):
    with a_tree() as root:
        for change, *arguments in changes:
            seen, before = read(root), identity(root)
            change(root, *arguments)
            if read(root) != seen:
                assert identity(root) != before


@many
@given(changes=st.lists(harmless, min_size=1, max_size=3))
def test_what_nothing_reads_does_not_change_the_hash(any_size, changes):
    with a_tree() as root:
        before = identity(root)
        for change, *arguments in changes:
            change(root, *arguments)
            assert identity(root) == before
        elsewhere = root.with_name("elsewhere")
        shutil.move(root, elsewhere)
        assert identity(elsewhere) == before
        copy = root.with_name("copy")
        shutil.copytree(elsewhere, copy)
        assert identity(copy) == before


def test_files_of_the_user_and_of_the_cache_count_wherever_both_lie(cached, tmp_path, monkeypatch):
    def both(place):
        monkeypatch.setenv("DYT_BENCH_DATA", str(place / "cache"))
        own = plant(place / "mine", "a/1.txt", b"x")
        tool = plant(fetched_folder("llm/tool"), "tool.json", b"{}")
        return digest_files([own, tool], place / "mine")

    assert both(tmp_path / "one") == both(tmp_path / "two" / "below")


def test_fetched_files_and_those_of_the_system_are_the_same(cached, tmp_path):
    copies = fetched_folder("dna/bacteria"), tmp_path / "usr" / "share" / "ragout"
    files = [[plant(folder, f"{n}/g.fa", n.encode()) for n in "ab"] for folder in copies]
    assert digest_files(files[0]) == digest_files(files[1])


def test_a_file_that_the_user_names_counts_by_its_name_alone(cached, tmp_path):
    one, two = (plant(tmp_path / place, "a.txt", b"x") for place in ("1", "2"))
    other = plant(tmp_path / "1", "b.txt", b"x")
    assert digest_files([one], one) == digest_files([two], two) != digest_files([other], other)


def reads(monkeypatch):
    """The files that are read from here on."""
    found, read_file = [], contents._read

    def noted(file):
        found.append(Path(file).name)
        return read_file(file)

    monkeypatch.setattr(contents, "_read", noted)
    return found


def test_a_large_data_set_is_read_once_and_what_changes_again(large, tmp_path, monkeypatch):
    files = [plant(tmp_path / "data", name, b"x") for name in ("1", "2")]
    found = reads(monkeypatch)
    first = digest_files(files)
    assert (digest_files(files), sorted(found)) == (first, ["1", "2"])
    plant(tmp_path / "data", "2", b"y")
    assert digest_files(files) != first
    assert sorted(found) == ["1", "2", "2"]


def test_a_file_with_the_time_of_its_predecessor_is_read(large, tmp_path):
    file = plant(tmp_path / "data", "1", b"x")
    before, first = file.stat(), digest_files([file])
    plant(tmp_path / "data", "1", b"y")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_files([file]) != first


def test_a_file_that_changed_just_now_is_not_kept(large, tmp_path, monkeypatch):
    file = plant(tmp_path / "data", "1", b"x")
    found = reads(monkeypatch)
    monkeypatch.setattr(contents, "_SETTLED_NS", 10**18)
    digest_files([file])
    digest_files([file])
    assert found == ["1", "1"]


@pytest.mark.parametrize("damage", ["no database", "half of it", "a folder", "no cache"])
def test_without_kept_hashes_the_files_are_read(large, tmp_path, damage):
    files = [plant(tmp_path / "data", str(number), b"x" * number) for number in range(500)]
    first = digest_files(files)
    if damage == "no database":
        large.write_bytes(b"no database" * 1000)
    elif damage == "half of it":
        large.write_bytes(large.read_bytes()[: large.stat().st_size // 2])
    elif damage == "a folder":
        large.unlink()
        large.mkdir()
    else:
        shutil.rmtree(large.parent)
        large.parent.touch()
    assert digest_files(files) == first
    assert digest_files(files) == first


def test_long_reading_is_announced(large, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contents, "_TELL_FROM", 1)
    files = [plant(tmp_path / "data", name, b"x") for name in ("a/1", "b/2")]
    digest_files(files)
    assert f"GiB below {tmp_path / 'data'}, once: " in capsys.readouterr().err
    digest_files(files)
    assert not capsys.readouterr().err
