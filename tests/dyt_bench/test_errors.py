"""What messages quote of a user's values: enough to recognise them, and never more."""

import pytest

from dyt_bench.errors import listed, quoted, reason, shortened


@pytest.mark.parametrize(
    "value", ["wether", "a\nb", b"\x00", 3, 1.5, None, True, [], [1, "a"], (1,), {"a": [1, {}]}]
)
def test_a_short_value_is_quoted_whole(value):
    assert quoted(value) == repr(value)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, b"x" * 10**6, ["x"] * 10**6, {"k" * 999: 1}, 10**400, range(10**6)]
)
def test_a_long_value_is_cut(value):
    assert len(quoted(value)) <= 200


def test_a_number_of_many_digits_is_described():
    assert quoted(10**5000) == "a number of 16,610 bits"


def test_a_value_that_holds_itself_is_cut():
    value = []
    value.append(value)
    assert quoted(value) == "[" * 197 + "..."


def test_a_text_of_several_lines_becomes_one():
    assert shortened("a\nb") == "a b"


def test_what_a_library_says_is_one_line_or_its_class():
    assert reason(ValueError("no\nnumber")) == "no number"
    assert reason(ValueError(" ")) == "ValueError"
    assert len(reason(ValueError("x" * 10**6))) == 200


def test_names_are_listed_as_far_as_they_fit():
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"
    many = listed(f"suite-{number}.yaml" for number in range(1000))
    assert many.startswith("suite-0.yaml, suite-1.yaml, ")
    assert many.endswith(" more")
    assert len(many) < 230
