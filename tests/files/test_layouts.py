"""Every domain trains two steps on small folders in the layouts in which people have their data."""

import gzip
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from scipy.io import savemat
from tests.dyt_images.layouts import lay_out_cifar, paint, save_images

from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import Run, Task
from dyt_bench.records.record import Record
from dyt_bench.training.run import train
from dyt_llm.data.tokens import trained

RANDOM = np.random.default_rng(0)


def two_steps(tmp_path, domain, model, dataset, path, **changes):
    """Train, and return what was noticed of the data."""
    files = discover().domain(domain).datasets[dataset].files(path)
    task = Task(
        domain=domain,
        model=model,
        dataset=dataset,
        path=path,
        steps=2,
        batch_size=2,
        learning_rate=1e-3,
        val_every=2,
        data_digest=digest_files(files, path),
        **changes,
    )
    run = Run(task=task)
    record = Record(tmp_path / "record")
    record.begin(run, {})
    outcome = train(resolve(run), record, lambda event: None, evaluate=False)
    assert (outcome.status, outcome.last["step"]) == ("finished", 2)
    return outcome.notices


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_imagenet_with_class_folders(tmp_path, path):
    paint(path / "train", 4)
    paint(path / "val", 2)
    assert two_steps(tmp_path, "vision", "vit-w32", "imagenet", path) == []


def test_imagenet_with_a_flat_val_and_the_development_kit(tmp_path, path):
    paint(path / "train", 4)
    (path / "train" / "red").rename(path / "train" / "n01440764")
    (path / "train" / "blue").rename(path / "train" / "n01443537")
    save_images(path / "val", 4, (0, 255, 0), "JPEG")
    kit = path / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    synsets = np.array(
        [(1, "n01440764"), (2, "n01443537")], [("ILSVRC2012_ID", "i4"), ("WNID", "O")]
    )
    savemat(kit / "meta.mat", {"synsets": synsets})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n2\n1\n")
    assert two_steps(tmp_path, "vision", "vit-w32", "imagenet", path) == []


def test_imagenet_with_a_flat_val(tmp_path, path):
    paint(path / "train", 4)
    save_images(path / "val", 4, (0, 255, 0), "JPEG")
    kaggle = [f"{n},{('red', 'blue')[n % 2]} 1 2 3 4" for n in range(4)]
    truth = "\n".join(["ImageId,PredictionString", *kaggle])
    (path / "LOC_val_solution.csv").write_text(truth)
    assert two_steps(tmp_path, "vision", "vit-w32", "imagenet", path) == []


@pytest.mark.parametrize(("domain", "model"), [("vision", "vit-w32"), ("diffusion", "dit")])
def test_cifar10(tmp_path, path, monkeypatch, domain, model):
    lay_out_cifar(path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    assert two_steps(tmp_path, domain, model, "cifar10", path) == []


def test_a_folder_of_images_with_what_people_leave_there(tmp_path, path):
    paint(path, 6)
    (path / ".DS_Store").touch()
    (path / "blue" / "._0.png").write_bytes(b"of macOS")
    (path / "red" / "notes.txt").touch()
    (path / "red" / "broken.png").touch()
    noticed = two_steps(tmp_path, "diffusion", "dit", "folder", path, skip_bad_files=True)
    assert noticed[0] == f"{path}: files that this data set does not read are left out: 1 .txt"
    assert noticed[1].startswith("1 of 13 files cannot be read and are left out:")
    assert len(noticed) == 2


def recording(file, seconds=2.0):
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = RANDOM.standard_normal(round(16_000 * seconds)) * 0.1
    soundfile.write(file, wave, 16_000)


def test_librispeech(tmp_path, path):
    root = path / "LibriSpeech"
    for part, speakers in (("train-clean-100", (19, 26)), ("dev-clean", (84,))):
        for speaker in speakers:
            for number in range(2):
                chapter = root / part / str(speaker) / "198"
                recording(chapter / f"{speaker}-198-{number:04}.flac")
                (chapter / f"{speaker}-198.trans.txt").write_text(f"{speaker}-198-0000 WORDS")
    (root / "SPEAKERS.TXT").write_text("; ID\n19 | F | train-clean-100 | 25 | A\n")
    (noticed,) = two_steps(tmp_path, "speech", "wav2vec2", "librispeech", path)
    assert noticed == f"{root}: files that this data set does not read are left out: 3 .txt"


def test_speech_commands(tmp_path, path):
    root = path / "SpeechCommands" / "speech_commands_v0.02"
    for word in ("yes", "no"):
        for number in range(4):
            recording(root / word / f"{number}_nohash_0.wav", 1.0)
    recording(root / "_background_noise_" / "doing_the_dishes.wav", 3.0)
    for name in ("README.md", "LICENSE"):
        (root / name).touch()
    (root / "validation_list.txt").write_text("yes/0_nohash_0.wav\nno/0_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("yes/1_nohash_0.wav\n")
    (noticed,) = two_steps(tmp_path, "speech", "wav2vec2", "speech-commands", path)
    assert noticed.endswith("are left out: 1 without a suffix, 1 .md")


def bases(count):
    return "".join(RANDOM.choice(list("ACGT"), count))


@pytest.mark.parametrize("name", ["hg38.fa", "hg38.fa.gz", "hg38.2bit"])
def test_hg38(tmp_path, path, name):
    chromosomes = {"chr1": bases(3_000), "chr2": bases(2_000)}
    text = "".join(f">{name}\n{letters}\n" for name, letters in chromosomes.items())
    if name.endswith(".fa"):
        (path / name).write_text(text)
    elif name.endswith(".gz"):
        (path / name).write_bytes(gzip.compress(text.encode()))
    else:
        from tests.dyt_dna.data.test_sequences import two_bit

        (path / name).write_bytes(two_bit(chromosomes))
    lines = ("chr1\t0\t2000\ttrain", "chr1\t2000\t3000\tvalid", "chr2\t0\t2000\ttest")
    (path / "sequences_human.bed").write_text("\n".join(lines))
    assert two_steps(tmp_path, "dna", "caduceus", "hg38", path) == []


def test_genomic_benchmarks(tmp_path, path):
    for part in ("train", "test"):
        for name in ("negative", "positive"):
            (path / part / name).mkdir(parents=True)
            for number in range(4):
                (path / part / name / f"{number}.txt").write_text(bases(200))
    assert two_steps(tmp_path, "dna", "caduceus", "genomic-benchmarks", path) == []


ROWS = [{"text": f"The {n}th of many documents, " + "words " * 40} for n in range(300)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def jsonl(path):
    (path / "train.jsonl").write_text(LINES)


def jsonl_gz(path):
    (path / "train.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))


def c4(path):
    (path / "c4-train.00000-of-00001.json.gz").write_bytes(gzip.compress(LINES.encode()))


def jsonl_zst(path):
    with pyarrow.CompressedOutputStream(str(path / "00.jsonl.zst"), "zstd") as stream:
        stream.write(LINES.encode())


def parquet(path):
    """As a data set's repository on the Hub."""
    (path / "data").mkdir()
    for part, rows in (("train", ROWS[:250]), ("validation", ROWS[250:])):
        file = path / "data" / f"{part}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def arrow(path):
    """As datasets' save_to_disk."""
    (path / "train").mkdir()
    table = pyarrow.Table.from_pylist(ROWS)
    file = path / "train" / "data-00000-of-00001.arrow"
    with pyarrow.ipc.new_stream(str(file), table.schema) as stream:
        stream.write_table(table)
    for name in ("dataset_dict.json", "train/dataset_info.json", "train/state.json"):
        (path / name).write_text("{}")


@pytest.mark.parametrize("write", [jsonl, jsonl_gz, c4, jsonl_zst, parquet, arrow])
def test_text(tmp_path, path, write):
    write(path)
    trained([row["text"] for row in ROWS[:50]], path / "tokenizer.json")
    assert two_steps(tmp_path, "llm", "llama", "corpus", path) == []
