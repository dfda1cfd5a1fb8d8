"""The split by scaffold keeps every scaffold on one side."""

import csv

import pytest

from dyt_bench.plugin.domain import DataError
from dyt_molecules import properties
from dyt_molecules.data.scaffolds import divided, scaffold

ALKANES = ["C" * length for length in range(1, 21)]
BENZENES = ["c1ccccc1" + "C" * length for length in range(6)]
PYRIDINES = ["c1ccncc1" + "C" * length for length in range(3)]


def test_a_scaffold_is_rings_and_what_links_them():
    assert scaffold("CCc1ccccc1") == scaffold("c1ccccc1O") == "c1ccccc1"
    assert scaffold("c1ccccc1CCc1ccccc1C") == "c1ccc(CCc2ccccc2)cc1"
    assert scaffold("CCO") == ""


def test_frequent_scaffolds_are_to_train_on_and_no_scaffold_is_on_both_sides():
    train, val = divided([*PYRIDINES, "C1CC1", *BENZENES, "CCO"], "scaffold", "here")
    # Of 11 molecules 2 are held out: of the groups of 6, 3, 1 and 1 the last two.
    assert train == [*BENZENES, *PYRIDINES]
    assert val == ["C1CC1", "CCO"]


def test_a_random_split_holds_out_a_tenth_and_is_always_the_same():
    train, val = divided(ALKANES, "random", "here")
    assert (len(train), len(val)) == (18, 2)
    assert sorted(train + val) == sorted(ALKANES)
    assert divided(ALKANES, "random", "here") == (train, val)


@pytest.mark.parametrize(
    ("structures", "split", "said"),
    [
        (ALKANES, "scaffold", "here: one scaffold has more than 80% of the molecules"),
        (ALKANES[:4], "scaffold", "here: 4 molecules are too few: expected 5 or more"),
        ([], "random", "here: 0 molecules are too few: expected 10 or more"),
    ],
)
def test_what_cannot_be_split_is_named(structures, split, said):
    with pytest.raises(DataError, match=said):
        divided(structures, split, "here")


def test_the_table_of_solubilities_says_how_it_is_split():
    """So that others can read it without RDKit."""
    (file,) = properties.datasets["solubility"].files(None)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 1266
    train, val = divided([row["smiles"] for row in rows], "scaffold", "here")
    for side, name in ((train, "train"), (val, "val")):
        assert {row["smiles"] for row in rows if row["split"] == name} == {*side}
    assert not {*map(scaffold, train)} & {*map(scaffold, val)}
