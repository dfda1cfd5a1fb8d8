"""A suite whose rates are tuned: trials first, then the verdicts at the rates they chose."""

import json

import pytest

from ..instant import InstantExecutor

SUITE = """\
name: tuned
steps: 4
seeds: [0, 1, 2]
executor: instant
tasks:
- {domain: tiny, models: [line], tuning: {rates: [0.1, 0.2]}}
"""


@pytest.fixture
def ran(instant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SUITE)
    ended = instant("run", "s.yaml", "--json", "--out", "out")
    assert ended.exit_code == 0, ended.output
    return ended, tmp_path


def test_trials_choose_and_verdicts_follow(ran):
    ended, folder = ran
    labels = InstantExecutor.trained
    # Rates, seeds and variants; then seeds and variants: the best rate of both is the same.
    assert len(labels) == 2 * 2 * 2 + 3 * 2
    assert all("trial" in label for label in labels[:8])
    assert "the best rates are native 0." in ended.stderr
    page = (folder / "out" / "README.md").read_text()
    assert "figures/rates.png" in page
    assert (folder / "out" / "figures" / "rates.png").stat().st_size > 5_000
    verdicts = json.loads((folder / "out" / "results.json").read_text())["verdicts"]
    assert [verdict["variant"] for verdict in verdicts] == ["dyt"]
    assert "trial" not in page.partition("## Verdicts")[2].partition("## ")[0]


def test_the_same_command_repeats_nothing(ran, instant):
    done = len(InstantExecutor.trained)
    again = instant("run", "s.yaml", "--out", "out")
    assert again.exit_code == 0, again.output
    assert len(InstantExecutor.trained) == done


def test_who_interrupts_the_verdicts_gets_a_page_with_every_domains_trials(
    instant, tmp_path, monkeypatch
):
    """The trials of two domains are done, and the verdicts of one have begun."""
    monkeypatch.chdir(tmp_path)
    more = "- {domain: dna, models: [hyena], tuning: {rates: [0.1, 0.2]}}\n"
    (tmp_path / "s.yaml").write_text(SUITE + more)
    run = InstantExecutor.run

    def interrupted(self, job, log, limits=None):
        if len(InstantExecutor.trained) == 18:
            raise KeyboardInterrupt
        return run(self, job, log, limits)

    monkeypatch.setattr(InstantExecutor, "run", interrupted)
    ended = instant("run", "s.yaml", "--out", "out")
    assert ended.exit_code == 130, ended.output
    assert "figures/rates.png" in (tmp_path / "out" / "README.md").read_text()
