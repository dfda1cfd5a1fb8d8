"""Use of processor and memory while a run trains, under MLflow's names for them."""

import time

import psutil
import torch

EVERY_S = 10.0


class SystemMetrics:
    """Samples of the machine, at most one every ``every_s`` seconds."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.every_s = every_s
        self._process = psutil.Process()
        # psutil measures use since the last call: these calls start the measurement.
        psutil.cpu_percent()
        self._process.cpu_percent()
        self._due = time.monotonic() + every_s

    def due(self) -> dict[str, float]:
        """A sample if one is due, else nothing; takes a fraction of a millisecond.

        ``system/process_cpu_percentage`` counts a whole processor as 100, MiB are 2**20 bytes.
        """
        if time.monotonic() < self._due:
            return {}
        self._due = time.monotonic() + self.every_s
        memory = psutil.virtual_memory()
        sample = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_mib": self._process.memory_info().rss / 2**20,
            "system/system_memory_usage_percentage": memory.percent,
        }
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            free, total = torch.cuda.mem_get_info()
            sample["system/gpu_0_memory_usage_percentage"] = 100 * (total - free) / total
        return sample
