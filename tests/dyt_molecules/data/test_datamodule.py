"""SMILES as tokens, structures as molecules, and the errors of a bad table."""

import numpy as np
import pytest
import torch
from rdkit import Chem

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_molecules import properties, smiles
from dyt_molecules.data.datamodule import pad
from dyt_molecules.data.structures import distinct
from dyt_molecules.data.tokens import END, LONGEST, PAD, START, UNKNOWN, Vocabulary, split
from dyt_molecules.reference import rmse_of_mean

ALKANES = [f"{'C' * length},{length}" for length in range(1, 21)]


def task(**chosen):
    options = tuple(chosen.pop("options", {}).items())
    given = {
        "domain": "molecules",
        "model": "encoder",
        "dataset": "nci",
        "steps": 2,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "val_every": 1,
    }
    return Task(**given | chosen, options=options)


@pytest.fixture(scope="module")
def nci():
    return properties.build_data(task())


@pytest.fixture
def table(tmp_path):
    def written(*lines):
        file = tmp_path / "table.csv"
        file.write_text("\n".join(lines))
        return task(dataset="table", path=file)

    return written


def test_a_string_is_its_tokens():
    assert split("C[C@H](Cl)Br") == ["C", "[C@H]", "(", "Cl", ")", "Br"]
    assert split("c1ccccc%10[nH]") == [*"c1ccccc", "%10", "[nH]"]


def test_a_token_unseen_in_training_is_unknown():
    vocabulary = Vocabulary(["CCO"])
    assert vocabulary.encode("CBr") == [START, vocabulary.numbers["C"], UNKNOWN, END]
    assert len(vocabulary) == 6


def test_one_structure_is_one_molecule():
    rows = [(Chem.MolFromSmiles(text), value) for text, value in [("OCC", 1), ("CCO", 3)]]
    assert distinct(rows) == {"CCO": 2.0}
    assert not distinct([(Chem.MolFromSmiles("C" * (LONGEST + 1)), 0.0)])


def test_no_structure_is_on_both_sides(nci):
    train, val = ({tuple(t) for t, _ in side} for side in (nci.train, nci.val))
    assert len(train) == len(nci.train) > 8 * len(val) > 3000
    unknown = {tokens for tokens in val if UNKNOWN in tokens}
    assert not train & (val - unknown)


def test_the_split_is_the_same_for_every_seed(nci):
    again = properties.build_data(task(seed=1))
    assert list(nci.val) == list(again.val)


def test_solubility_is_split_by_scaffold_unless_a_suite_says_otherwise():
    by_scaffold = properties.build_data(task(dataset="solubility"))
    assert (len(by_scaffold.train), len(by_scaffold.val)) == (1013, 253)
    assert (by_scaffold.mean, by_scaffold.scale) == pytest.approx((-2.596, 1.995), abs=1e-3)
    at_random = properties.build_data(task(dataset="solubility", options={"split": "random"}))
    assert (len(at_random.train), len(at_random.val)) == (1140, 126)


def test_batches_are_padded_and_properties_are_in_standard_deviations(nci):
    tokens, values = next(iter(nci.train_dataloader()))
    assert tokens.dtype == torch.int64
    assert tokens.shape == (8, tokens.shape[1])
    assert all(END in row and row[0] == START for row in tokens.tolist())
    assert values.dtype == torch.float32
    assert np.std([value for _, value in nci.train]) == pytest.approx(1.0)
    padded, _ = pad([([START, END], 0.5), ([START, 5, END], -0.5)])
    assert padded.tolist() == [[START, END, PAD], [START, 5, END]]


def test_reference_scores(nci):
    assert rmse_of_mean(nci) == pytest.approx(1.0, abs=0.2)
    assert properties.reference_score(task(), nci) == rmse_of_mean(nci)
    assert 2.0 < smiles.reference_score(task(), nci) < 3.0


def test_a_table_of_ones_own_is_read(table):
    data = properties.build_data(table("smiles,value", *ALKANES))
    assert (len(data.train), len(data.val)) == (18, 2)
    assert properties.build_data(
        table("id,value,smiles", *(f"x,{i},{'C' * i}O" for i in range(20)))
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["smiles,logp", "C,1"], "table.csv: no column value"),
        ([], "table.csv: no column smiles and value"),
        (["smiles,value", "C,1", "C(,2"], r"table.csv:3: 'C\(' is no SMILES"),
        (["smiles,value", "C,much"], "table.csv:2: value must be a finite number, got 'much'"),
        (["smiles,value", "C"], "table.csv:2: value must be a finite number, got ''"),
        (["smiles,value", "C,1"], "1 molecules are too few: expected 10 or more"),
        (["smiles,value", *(f"{'C' * n},7" for n in range(1, 21))], "has the value 7"),
    ],
)
def test_a_table_that_is_none_is_named(table, lines, said):
    with pytest.raises(DataError, match=said):
        properties.build_data(table(*lines))


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"smiles,value\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="is no CSV file in UTF-8"):
        properties.build_data(task(dataset="table", path=tmp_path / "table.csv"))
