"""Malformed suites at the command line: status 2, one short sentence, and nothing written."""

import pytest
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.suite.document import MOST_CHARACTERS, MOST_DEPTH, MOST_VALUES

VISION = "tasks:\n- domain: vision\n"
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
OWN = "name: s\ntasks:\n- domain: vision\n  datasets: [folder]\n  path: "
# What is wrong -> the suite, and part of what is said.
MALFORMED = {
    "nested aliases": (f"name: s\n{BOMB}{VISION}", f"at most {MOST_VALUES:,} values"),
    "an alias of what it is in": ("name: s\ntasks: &a\n- *a\n", "stands in what it repeats"),
    "variants in themselves": (f"name: s\nvariants: &v [native, *v]\n{VISION}", "it repeats"),
    "a chain of aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99)),
        f"at most {MOST_DEPTH} deep",
    ),
    "brackets": ("name: s\ntasks: " + "[" * 3000 + "]" * 3000, f"at most {MOST_DEPTH} deep"),
    "dashes": ("name: s\ntasks:\n" + "- " * 3000, f"at most {MOST_DEPTH} deep"),
    "a long file": ("#" * (MOST_CHARACTERS + 1), "is too long for a suite"),
    "a long key": (f"name: s\n{'k' * 900}: 1\n{VISION}", "unknown key 'kkk"),
    "a long alias": (f"name: *{'a' * 900}", "found undefined alias"),
    "a long tag": (f"name: !{'a' * 900} 1", "could not determine a constructor"),
    "a long value": (f"name: s\nkind: {'k' * 9000}\n{VISION}", "kind: input should be"),
    "a long list": (f"name: s\ntitle: [{'1, ' * 900}]\n{VISION}", "title: input should be"),
    "a long number": (f"name: s\nsteps: {'9' * 5000}\n{VISION}", "more than 1,000 digits"),
    "a number for no column": (f"name: s\nsteps: {10**19}\n{VISION}", "less than or equal"),
    "infinity": (f"{OWN}x\n  learning_rate: .inf\n", "'.inf' is no finite number"),
    "too large": (f"{OWN}x\n  learning_rate: 1e999\n", "'1e999' is no finite number"),
    "no number": (f"{OWN}x\n  expected: {{native: .nan}}\n", "'.nan' is no finite number"),
    "text for a number": (f"name: s\nsteps: 1_000\n{VISION}", "integer, got '1_000'"),
    "sexagesimal": (f"name: s\nsteps: 1:30\n{VISION}", "integer, got '1:30'"),
    "a truth for a number": (f"name: s\nsteps: true\n{VISION}", "integer, got True"),
    "a fraction for a count": (f"name: s\nsteps: 1e3\n{VISION}", "integer, got 1000.0"),
    "a number for text": ("name: s\ntasks:\n- domain: 3\n", "domain: input should be a valid str"),
    "a number for a path": (f"{OWN}3\n", "path: input should be a valid string, got 3"),
    "a number as a key": (f"{OWN}x\n  expected: {{1: 2}}\n", "a key must be text, got 1"),
    "a list as a key": ("? [a]\n: b\n", "a key must be text, got a collection"),
    "YAML 1.1": (f"%YAML 1.1\n---\nname: s\n{VISION}", "a suite file is YAML 1.2"),
    "half an emoji": (f'name: s\ntitle: "\\ud83d"\n{VISION}', "half of a pair"),
    "no character": ('name: "\\UFFFFFFFF"\n', "a number is out of range"),
    "a size without end": (f"name: s\nrun_memory: {'9' * 400}GiB\n{VISION}", "expected a size"),
    "a size of nothing": (f"name: s\nrun_memory: 0.3\n{VISION}", "expected a size"),
    "a time without end": (f"name: s\nrun_timeout: {'9' * 20}d\n{VISION}", "no more than 1e+15"),
    "NUL in a path": (f'{OWN}"a\\0b"\n', "holds a control character"),
    "no path": (f'{OWN}""\n', "at least 1 character"),
    "a long path": (f"{OWN}{'a' * 5000}\n", "cannot be used: File name too long"),
    "a variable that is not set": (f"{OWN}$DYT_NO_SUCH/x\n", "is not set: 'DYT_NO_SUCH'"),
    "nobody's home": (f"{OWN}~nobody-of-that-name/x\n", "the home of a user who is not here"),
    "too many runs": (
        f"name: s\nseeds: {list(range(3000))}\nvariants: [{', '.join(['dyt'] * 9)}]\n{VISION}",
        "has 27,000 runs, and a suite may have 20,000",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_suite_is_one_short_sentence(tmp_path, monkeypatch, what):
    text, expected = MALFORMED[what]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    ended = CliRunner().invoke(main, ["run", "s.yaml"])
    assert ended.exit_code == 2, ended.output
    assert expected in ended.stderr
    assert ended.stderr.startswith("dyt-bench: s.yaml")
    assert ended.stderr.count("\n") == 1
    assert len(ended.stderr) < 400
    assert not ended.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize("seeds", ["20001", str(2**32)])
def test_more_seeds_than_can_be_planned_are_refused(tmp_path, monkeypatch, seeds):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(f"name: s\nvariants: [native]\n{VISION}")
    ended = CliRunner().invoke(main, ["plan", "s.yaml", "--seeds", seeds])
    assert ended.exit_code == 2
    assert ended.stderr == (
        f"dyt-bench: s.yaml has {int(seeds):,} runs, and a suite may have 20,000: take fewer "
        "seeds, or divide it into several suites\n"
    )
