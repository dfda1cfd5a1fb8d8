"""The command `completion`: the script by which a shell completes commands, suites and names."""

import click
from click.shell_completion import get_completion_class

from dyt_bench.cli.group import main


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, suites, domains and variants.

    For bash, in ~/.bashrc: eval "$(dyt-bench completion bash)". For zsh the same in ~/.zshrc; for
    fish: dyt-bench completion fish > ~/.config/fish/completions/dyt-bench.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "dyt-bench", "_DYT_BENCH_COMPLETE").source())
