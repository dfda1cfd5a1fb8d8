"""The molecules that an encoder learns from, its tokens, and the table that it is fine-tuned on."""

import re

import pytest
from transformers import AutoTokenizer

from dyt_bench.plugin.domain import DataError
from dyt_pretrained import examples, files, regression
from dyt_pretrained.data.molecules import TOKEN, to_read


def test_each_molecule_is_read_once_as_rdkit_writes_it_without_those_of_the_table(tmp_path):
    table, others = tmp_path / "table.csv", tmp_path / "others.csv"
    table.write_text("smiles,solubility\nCCO,1.0\n")
    others.write_text("# comment\nOCC,1.0\nC1=CC=CC=C1,2.0\nc1ccccc1,3.0\nC(C)(C)(C)(C)C,4.0\n")
    assert to_read(table, others) == ["c1ccccc1"]


def test_what_is_learned_from_has_no_molecule_of_the_table():
    from dyt_molecules.data.solubility import read_solubility
    from dyt_molecules.data.structures import distinct

    table, others = files.molecules(None)
    learned = to_read(table, others)
    assert len(learned) == len({*learned}) > 4000
    assert not {*learned} & {*distinct(read_solubility(table))}


def test_tokens_are_those_of_the_package_of_molecules():
    from dyt_molecules.data.tokens import split

    for smiles in ("C[C@H](Cl)Br", "c1ccccc%10[nH]", "CC(=O)O"):
        assert re.findall(TOKEN, smiles) == split(smiles)


def test_the_tokenizer_has_a_token_for_each_atom():
    tokenizer = AutoTokenizer.from_pretrained(str(examples.molecule_encoder()))
    ids = tokenizer("Cc1[nH]cc(Cl)n1")["input_ids"]
    found = tokenizer.convert_ids_to_tokens(ids)
    assert found == ["[CLS]", *"Cc1", "[nH]", *"cc(", "Cl", *")n1", "[SEP]"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Cc1[nH]cc(Cl)n1"


def test_the_table_is_split_by_its_column(task):
    own = task(
        domain="pretrained-regression",
        model="regression",
        checkpoint=examples.molecule_encoder(),
        path=files.molecules(None)[0],
        options={"label": "solubility", "text": "smiles", "split": "split"},
    )
    data = regression.build_data(own)
    assert (len(data.train), len(data.val)) == (1013, 253)
    assert data.samples.mean == pytest.approx(-2.596, abs=1e-3)


def test_without_its_packages_the_example_says_so(monkeypatch):
    from dyt_bench.plugin import files as sources

    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="'dyt_molecules' is not installed, and solubility/"):
        examples.molecule_encoder()
