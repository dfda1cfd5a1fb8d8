"""A suite file as YAML: its lines, and what is wrong with a text that is no suite."""

from pathlib import Path

import pytest

from dyt_bench.errors import UserError
from dyt_bench.suite.document import Document, to_yaml


def read(text):
    return Document(Path("suite.yaml"), text)


def test_every_place_has_its_line():
    document = read("a: 1\nb:\n- x\n- {c: 2,\n   d: 3}\n")
    places = [["a"], ["b"], ["b", 0], ["b", 1, "c"], ["b", 1, "d"], ["b", 1, "missing"]]
    assert [document.line(place) for place in places] == [1, 2, 3, 4, 5, 4]


def test_it_is_yaml_1_2():
    assert read("a: yes\nb: 010\nc: 1e3").content == {"a": "yes", "b": 10, "c": 1000.0}


def test_a_document_does_not_change_how_the_next_is_read():
    with pytest.raises(UserError, match=r"suite.yaml:1: a suite file is YAML 1.2: remove the"):
        read("%YAML 1.1\n---\na: yes")
    assert read("%YAML 1.2\n---\na: yes").content == {"a": "yes"}
    assert read("a: yes").content == {"a": "yes"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "suite.yaml:2: key 'c' is given twice"),
        ("a: 1\nb: !!float x", "suite.yaml:2: not valid YAML: 'x' is not a value of the type f"),
        ("a: 1\nb: !!int x", "suite.yaml:2: not valid YAML: 'x' is not a value of the type int"),
        ("a: 1\nb: !!bool x", "suite.yaml:2: not valid YAML: 'x' is not a value of the type bool"),
        ("a: 1\nb: !mine x", "suite.yaml:2: not valid YAML: could not determine a constructor"),
        ("a: 1\nb: \x07", r"suite.yaml:2: not valid YAML: the character '\\x07' is not allowed"),
        ("a: 1\n---\nb: 1", "suite.yaml:2: not valid YAML: but found another document"),
        ("a: *b", "suite.yaml:1: not valid YAML: found undefined alias 'b'"),
    ],
)
def test_what_is_no_yaml_is_one_sentence_with_its_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        *("yes", "1e3", ".5e3", "010", "0o7", "~", "", "a: b", "2024-01-01", "1_0", "1:30"),
        *(1e-5, 1e22, None, True, ["é"]),
    ],
)
def test_what_is_written_is_read_again(value):
    assert read(to_yaml({"a": value, "b": {"c": [value]}})).content == {
        "a": value,
        "b": {"c": [value]},
    }


def test_it_is_written_in_the_order_given_and_flat_where_possible():
    assert to_yaml({"b": [1, 2], "a": [{"c": 1}]}) == "b: [1, 2]\na:\n- {c: 1}\n"


def test_an_alias_repeats_a_value_and_places_in_it_are_its_own():
    document = read("a: &a [x,\n y]\nb:\n- *a\n- &c 3\nd: *c")
    assert document.content == {"a": ["x", "y"], "b": [["x", "y"], 3], "d": 3}
    assert [document.line(place) for place in (["a", 1], ["b", 0, 1], ["d"])] == [2, 4, 6]


def test_a_word_with_the_tag_of_text_is_text():
    assert read("a: !!str 3\nb: ! 3\nc: !!float 3").content == {"a": "3", "b": "3", "c": 3.0}
