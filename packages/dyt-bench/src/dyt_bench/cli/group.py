"""The command `dyt-bench` itself, to which the others are added."""

import signal
from typing import Any

import click

from dyt_bench.errors import UserError, printable
from dyt_bench.executors.contract import Preempted, preempt


class _Group(click.Group):
    """Turns a user's mistake into one sentence on stderr and exit status 2.

    SIGINT and SIGTERM at any time end in status 130 and 143, with what was started ended.
    """

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
      dyt-bench plan benchmarks/default.yaml   the runs of a suite
      dyt-bench run benchmarks/default.yaml    train, time, log, report
      dyt-bench finetune --help                the same for a checkpoint and data of your own
      dyt-bench ui                             look at the runs in MLflow
      dyt-bench sync                           send the runs to another MLflow server
      dyt-bench convert timm:convnext_atto     a model's norms, and a swap of them
      dyt-bench check vision                   whether a domain keeps the rules
      dyt-bench doctor                         whether runs work on this machine
      dyt-bench new-domain weather             a package for a domain of your own
    """
