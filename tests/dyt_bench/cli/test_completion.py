"""What the shell completes."""

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from dyt_bench.cli import main
from dyt_bench.suite.shipped import shipped


def completed(*words):
    """What the last of the words, which is being typed, may become."""
    complete = BashComplete(main, {}, "dyt-bench", "_DYT_BENCH_COMPLETE")
    *before, typed = words
    return [item.value for item in complete.get_completions(before, typed)]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_suites_domains_variants_and_models(command):
    assert set(completed(command, "")) >= set(shipped())
    assert completed(command, "evid")[0] == "evidence"
    assert completed(command, "default", "--domains", "vi") == ["vision", "vision-ssl"]
    assert completed(command, "default", "--variants", "dyt,rms") == ["dyt,rmsnorm"]
    assert "llama" in completed(command, "default", "--models", "lla")


def test_domains_of_check_and_recipes_of_convert():
    assert completed("check", "dn") == ["dna", "dna-finetuning"]
    assert "calibrated" in completed("convert", "timm:x", "--recipe", "cal")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed(shell):
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_DYT_BENCH_COMPLETE" in result.stdout


def test_every_command_can_be_quiet_and_verbose():
    def commands(group):
        for command in group.commands.values():
            yield from commands(command) if isinstance(command, click.Group) else [command]

    for command in commands(main):
        options = {option for param in command.params for option in param.opts}
        assert {"--quiet", "--verbose"} <= options, command.name
