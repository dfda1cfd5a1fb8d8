"""The mirror ``wandb``: Weights & Biases, in files of the workspace, or online with a key."""

import netrc
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dyt_bench.errors import UserError
from dyt_bench.plugin.mirrors import CopiedEnd, CopiedRun


class WeightsAndBiases:
    """Sends a suite's runs to the project ``dyt-bench-SUITE``.

    A project's runs are grouped by what is compared, and their job type is the variant. Of the
    machine nothing is sent beside what the record says: no console output, code or git state.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(self, folder: Path, suite: str) -> None:
        if find_spec("wandb") is None:
            raise UserError(
                "the mirror wandb needs Weights & Biases' client: pip install 'dyt-bench[wandb]'"
            )
        self.folder = folder / suite
        # As the client decides: WANDB_MODE, or online with a key.
        self.mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        self.project = f"dyt-bench-{suite}"
        self.place = (
            f"wandb sync {self.folder}/wandb/offline-run-*"
            if self.mode == "offline"
            else f"project {self.project} of Weights & Biases"
        )

    def begin(self, run: CopiedRun) -> "_Sent":
        import wandb

        for old in self.folder.glob(f"wandb/*run-*-{run.key}"):
            shutil.rmtree(old)
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            silent=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        open_run = wandb.init(
            project=self.project,
            id=run.key,
            name=run.label,
            group=run.group,
            job_type=run.variant,
            config={**run.parameters, "variant": run.variant, **run.tags},
            dir=self.folder,
            mode=self.mode,
            reinit="create_new",  # other runs stay open
            resume="allow",  # what is there already is the same, and is not taken twice
            settings=settings,
        )
        return _Sent(open_run)


class _Sent:
    """One run."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        for row in rows:
            values = {
                "_timestamp" if name == "time" else name: value
                for name, value in row.items()
                if name != "step"
            }
            self.run.log(values, step=int(row["step"]))

    def finish(self, end: CopiedEnd) -> None:
        best = {f"best/{name}": value for name, value in end.best.items()}
        said = {"status": end.status, **({"reason": end.reason} if end.reason else {})}
        self.run.summary.update({**end.measured, **best, **said})
        self.run.finish(exit_code=0 if end.status == "finished" else 1)


def _has_key() -> bool:
    """Whether the user is logged in; nothing is sent to find out."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
