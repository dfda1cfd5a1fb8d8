"""`finetune`, `convert` and the examples, as a person meets them."""

import json

import pytest
import torch
from click.testing import CliRunner

import dyt
from dyt_bench.cli import main
from dyt_pretrained.__main__ import main as write
from dyt_pretrained.files import table


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def test_the_suite_is_shown_and_planned(cli, bert, reviews, tmp_path):
    made = ["finetune", "--model", bert, "--data", reviews, "--label", "mood", "--only-plan"]
    done = cli(*made, "--to", "derf", "--to", "dyt", "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert "- {name: derf, recipe: calibrated}" in done.stderr
    assert "10 runs: " in done.stderr
    file = tmp_path / ".dyt-bench/suites-made/bert-reviews-mood.yaml"
    plan = json.loads(cli("plan", file, "--json").stdout)
    assert len(plan["runs"]) == 10
    first = plan["runs"][0]
    assert first["checkpoint"] == str(bert)
    assert json.loads(first["options"]) == {"label": "mood"}


def test_another_checkpoint_or_column_is_another_run(cli, bert, reviews, tmp_path):
    def identities(*more):
        done = cli("finetune", "--model", more[0], "--data", reviews, *more[1:], "--only-plan")
        assert done.exit_code == 0, done.output
        file = done.stderr.partition(":\n")[0]
        return {run["identity"] for run in json.loads(cli("plan", file, "--json").stdout)["runs"]}

    first = identities(bert, "--label", "mood")
    copy = tmp_path / "moved"
    copy.mkdir()
    for each in bert.iterdir():
        (copy / each.name).write_bytes(each.read_bytes())
    assert identities(copy, "--label", "mood") == first  # wherever it lies
    weights = copy / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    assert not identities(copy, "--label", "mood") & first
    assert not identities(bert, "--label", "mood", "--length", "16") & first


def test_a_gradual_swap_is_planned_where_it_is_asked_for(cli, bert, reviews):
    made = ["finetune", "--model", bert, "--data", reviews, "--label", "mood", "--only-plan"]
    assert "gradual" not in cli(*made).stderr
    done = cli(*made, "--gradual", "--seeds", "1")
    assert "- {name: dyt, recipe: gradual}" in done.stderr
    assert "4 runs: " in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "mod"], "has no column 'mod'"),
        (["--label", "mood", "--task", "regresion"], "did you mean 'regression'"),
        (["--label", "mood", "--to", "dyd"], "unknown variant 'dyd'"),
    ],
)
def test_a_mistake_is_one_sentence(words, said, cli, bert, reviews, tmp_path):
    done = cli("finetune", "--model", bert, "--data", reviews, *words)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / ".dyt-bench/runs").exists()


def test_a_folder_that_is_no_checkpoint(cli, reviews, tmp_path):
    for command in (["finetune", "--data", reviews, "--model", "none"], ["convert", "./none"]):
        done = cli(*command)
        assert done.exit_code == 2
        assert "none is no folder" in done.stderr


def test_a_checkpoint_s_norms_are_shown(cli, bert, gpt2, timm_vit):
    for folder, norms in ((bert, 6), (gpt2, 3), (timm_vit, 3)):
        found = json.loads(cli("convert", folder, "--json").stdout)
        assert len(found["sites"]) == norms
        assert all(site["becomes"] for site in found["sites"])


@pytest.mark.filterwarnings("ignore::dyt.CalibrationWarning")
def test_a_checkpoint_is_calibrated_and_saved(cli, bert, reviews, tmp_path):
    from transformers import BertForMaskedLM

    done = cli("convert", bert, "--save", "out", "--data", reviews, "--text", "review")
    assert done.exit_code == 0, done.output
    native, found = BertForMaskedLM.from_pretrained(bert).eval(), dyt.load(tmp_path / "out")
    plain = dyt.convert(BertForMaskedLM.from_pretrained(bert).eval())
    assert (tmp_path / "out" / "tokenizer.json").exists()
    ids = torch.randint(5, 21, (8, 9))
    with torch.no_grad():
        truth, fitted, swapped = (m(input_ids=ids).logits for m in (native, found, plain))
    assert (fitted - truth).square().mean() < (swapped - truth).square().mean()
    again = cli("convert", "./out")
    assert again.exit_code == 2
    assert "was converted by dyt already" in again.stderr


@pytest.mark.filterwarnings("ignore::dyt.CalibrationWarning")
def test_an_image_model_is_calibrated_and_saved(cli, timm_vit, squares, tmp_path):
    import timm

    assert cli("convert", timm_vit, "--save", "out", "--data", squares).exit_code == 0
    model = dyt.load(tmp_path / "out", timm.create_model(f"local-dir:{timm_vit}"))
    assert dyt.alphas(model)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bert", "--save", "out"], "add --data"),
        (["bert", "--data", "reviews"], "add --save FOLDER"),
        (["timm:convnext_atto", "--save", "out", "--data", "reviews"], "for a checkpoint's folder"),
        (["bert", "--save", ".", "--data", "reviews"], "is there already: name a new folder"),
        (["./timm:x"], "is no folder"),
    ],
)
def test_what_convert_cannot_do(words, said, cli, bert, reviews, tmp_path):
    (tmp_path / "file").touch()
    known = {"bert": bert, "reviews": reviews}
    done = cli("convert", *(known.get(word, word) for word in words))
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_examples_are_written(tmp_path, capsys):
    assert write(["text", str(tmp_path / "text")]) == 0
    assert {"config.json", "tokenizer.json"} <= {
        file.name for file in (tmp_path / "text/model").iterdir()
    }
    assert table(tmp_path / "text/verses.csv")
    assert write(["molecules", str(tmp_path / "molecules")]) == 0
    assert table(tmp_path / "molecules/molecules.csv")
    assert write(["images", str(tmp_path / "images")]) == 0
    assert sorted(f.name for f in (tmp_path / "images/digits").iterdir()) == list("56789")
    assert write(["text", str(tmp_path / "text")]) == 2
    assert write(["sound", str(tmp_path / "sound")]) == 2
    assert write([]) == 2
    said = capsys.readouterr().err
    assert "exists already: name a new folder" in said
    assert "there is no example 'sound': expected one of text, molecules, images" in said
    assert "usage: python -m dyt_pretrained text|molecules|images FOLDER" in said


def test_the_molecules_are_fine_tuned_to_predict_solubility(cli, tmp_path):
    assert write(["molecules", str(tmp_path / "made")]) == 0
    made = ["finetune", "--model", "made/model", "--data", "made/molecules.csv"]
    columns = ["--label", "solubility", "--text", "smiles", "--split", "split"]
    done = cli(*made, *columns, "--only-plan")
    assert done.exit_code == 0, done.output
    assert "models: [regression]" in done.stderr
    assert "9 runs: " in done.stderr


@pytest.mark.slow
def test_a_checkpoint_is_fine_tuned_and_saved(cli, bert, reviews, tmp_path):
    made = ["finetune", "--model", bert, "--data", reviews, "--label", "mood"]
    done = cli(*made, "--steps", "5", "--seeds", "2", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert {run["status"] for run in summary["runs"]} == {"finished"}
    model = dyt.load(summary["model"])
    assert model.config.id2label == {0: "bad", 1: "good"}
