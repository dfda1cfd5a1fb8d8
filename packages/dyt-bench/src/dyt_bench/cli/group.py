"""The command `dyt-bench` itself, to which the others are added."""

import logging
import signal
from functools import partial
from typing import Any

import click

from dyt_bench.discovery.domains import guess
from dyt_bench.errors import UserError, printable
from dyt_bench.executors.contract import Preempted, preempt


def _set(ctx: click.Context, name: str, value: bool) -> None:
    """Set an attribute of the console that runs are told on, until the command ends."""
    from dyt_bench.scheduling.telling import console

    ctx.call_on_close(partial(setattr, console, name, getattr(console, name)))
    setattr(console, name, value)


def _quieten(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        _set(ctx, "quiet", True)


def _explain(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        _set(ctx, "is_interactive", False)
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


# Every command has them.
_LOUDNESS = (
    click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_quieten,
        help="Print results and mistakes alone.",
    ),
    click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_explain,
        help="Print a line for every event, and what libraries log.",
    ),
)


def _say(error: click.UsageError) -> None:
    """Print what is wrong with the arguments as one sentence, and where it is told what there is.

    A command that is called without any arguments, and needs some, prints its help instead.
    """
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    # Its name in a test, or with `python -m`, is another.
    path = "" if error.ctx is None else error.ctx.command_path.partition(" ")[2]
    # Without click's own question, after which the sentence would go on.
    names = getattr(error, "possibilities", None) or []
    message = error.message if names else error.format_message()
    message = message.replace("\n", " ").strip().removesuffix(".")
    told = f"`{' '.join(['dyt-bench', *path.split()])} --help` tells what it takes{guess(names)}"
    click.echo(printable(f"dyt-bench: {message[:1].lower()}{message[1:]}: {told}"), err=True)


class _Group(click.Group):
    """Turns a user's mistake into one sentence on stderr and exit status 2.

    SIGINT and SIGTERM at any time end in status 130 and 143, with what was started ended.
    """

    group_class = type  # groups below this one are of the same class

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if not isinstance(cmd, click.Group):
            cmd.params += _LOUDNESS
        super().add_command(cmd, name)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            _say(error)
            raise click.exceptions.Exit(2) from None

    def invoke(self, ctx: click.Context) -> Any:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, preempt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            preempted = isinstance(interruption, Preempted)
            click.echo(f"dyt-bench: {'pre-empted' if preempted else 'interrupted'}", err=True)
            ctx.exit(143 if preempted else 130)
        except UserError as error:
            click.echo(printable(f"dyt-bench: {error}"), err=True)
            ctx.exit(2)
        except click.UsageError as error:
            _say(error)
            ctx.exit(2)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dyt-bench")
def main() -> None:
    """Compare normalization with its element-wise replacements, on your machine.

    A suite file says what to run: domains, models, variants, seeds. Try

    \b
      dyt-bench domains                        domains, models and data sets
      dyt-bench plugins                        extensions that packages add
      dyt-bench plan default                   the runs of a suite
      dyt-bench run default                    train, time, log, report
      dyt-bench report                         the verdicts of the last runs again
      dyt-bench compare A B                    two workspaces, commits or runs
      dyt-bench clean                          delete what no suite needs
      dyt-bench finetune --help                the same for a checkpoint and data of your own
      dyt-bench ui                             look at the runs in MLflow
      dyt-bench sync                           send the runs to another MLflow server
      dyt-bench merge OTHER/.dyt-bench         put the runs of several machines together
      dyt-bench convert timm:convnext_atto     a model's norms, and a swap of them
      dyt-bench check vision                   whether a domain keeps the rules
      dyt-bench doctor                         whether runs work on this machine
      dyt-bench new-domain weather             a package for a domain of your own
    """
