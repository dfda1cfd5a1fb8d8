"""What counts as a checkpoint, and one sentence for what does not."""

import json
import shutil

import pytest

import dyt
from dyt_bench.plugin.domain import DataError
from dyt_pretrained.checkpoint import length_of, read_checkpoint


def test_libraries_and_numbers_are_read_from_the_configuration(bert, gpt2, timm_vit):
    found = read_checkpoint(bert)
    assert (found.library, found.width, found.positions) == ("transformers", 16, 32)
    assert not found.sees
    assert not found.predicts_next
    assert read_checkpoint(gpt2).predicts_next
    assert read_checkpoint(gpt2).width == 16
    vit = read_checkpoint(timm_vit)
    assert (vit.library, vit.sees, vit.pixels) == ("timm", True, 16)
    assert {"config.json", "model.safetensors"} <= {file.name for file in vit.files}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "holds no config.json"),
        ({"config.json": "{"}, "config.json cannot be read"),
        ({"config.json": "[]"}, "names no model"),
        ({"config.json": '{"hidden_size": 8}'}, "names no model"),
        ({"config.json": '{"model_type": "bert"}'}, "holds no weights: expected model.safetensors"),
        ({"config.json": '{"model_type": "bert", "dyt": {}}'}, "was converted by dyt already"),
        (
            {"config.json": '{"architecture": "vit"}', "dyt.json": "{}"},
            "was converted by dyt already",
        ),
    ],
)
def test_what_is_no_checkpoint(files, what, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=what):
        read_checkpoint(tmp_path)


def test_a_name_that_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="is no folder: expected that of a checkpoint"):
        read_checkpoint(tmp_path / "org" / "model")


def test_an_older_timms_checkpoint_takes_images_of_its_own_size(tmp_path):
    config = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": {"img_size": 16},
        "pretrained_cfg": {"input_size": [3, 224, 224]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert read_checkpoint(tmp_path).pixels == 16


def test_what_dyt_saves_is_refused(bert, tmp_path):
    from transformers import BertForMaskedLM

    dyt.save(dyt.convert(BertForMaskedLM.from_pretrained(bert), "dyt"), tmp_path)
    with pytest.raises(DataError, match="give the checkpoint with its norms"):
        read_checkpoint(tmp_path)


def test_lengths(bert, tmp_path):
    found = read_checkpoint(bert)
    assert length_of(found, None, 128) == 32
    assert length_of(found, "16", 128) == 16
    assert length_of(None, None, 128) == 128
    for option, what in (("64", "at most the 32 tokens"), ("3", "4 or more"), ("x", "got 'x'")):
        with pytest.raises(DataError, match=what):
            length_of(found, option, 128)


def test_another_number_of_positions_is_no_limit(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    assert read_checkpoint(folder).positions is None
