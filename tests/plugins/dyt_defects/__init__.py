"""A small domain that keeps every rule of dyt_bench.testing, and twenty that break one each."""

import time

from dyt_bench.plugin.domain import Dataset, Domain, Metric, Model
from dyt_bench.plugin.files import files_below

LINE = {
    "summary": "two layers",
    "library": "dyt-defects",
    "native_norm": "LayerNorm",
    "steps": 30,
    "batch_size": 8,
    "learning_rate": 5e-2,
}
ERROR = {"name": "val/error", "title": "mean absolute error", "margin": 0.01}


def read(path):
    return files_below(path, {".csv"}, "NUMBERS.csv")


class Healthy(Domain):
    name = "healthy"
    summary = "a coordinate of points"
    unit = "point"
    metric = Metric(mode="min", reference="the mean", **ERROR)
    models = {"line": Model(**LINE)}
    datasets = {
        "points": Dataset(
            summary="points", source="made here", licence="none", files=lambda path: []
        ),
        "table": Dataset(
            summary="yours", source="path", licence="yours", files=read, takes_path=True
        ),
    }

    def build_data(self, task):
        from dyt_defects import parts

        return parts.Data(task, *parts.points(task))

    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.Line(task, self.training(task))

    def reference_score(self, task, data):
        from dyt_defects import parts

        return parts.error_of_mean(data)


class MistypedMode(Healthy):
    metric = Metric(mode="minimum", **ERROR)


class NoLightning(Healthy):
    def build_module(self, task, data):
        return super().build_module(task, data).net


class NoUnits(Healthy):
    def build_module(self, task, data):
        module = super().build_module(task, data)
        module.units_per_sample = 0.5
        return module


class ShuffledByTheClock(Healthy):
    def build_data(self, task):
        data = super().build_data(task)
        data.seed = time.time_ns()
        return data


class ShuffledAlwaysTheSame(Healthy):
    def build_data(self, task):
        data = super().build_data(task)
        data.seed = 0
        return data


class Leaking(Healthy):
    def build_data(self, task):
        data = super().build_data(task)
        data.val = data.train
        return data


class NoisyValidation(Healthy):
    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.NoisyValidation(task, self.training(task))


class Diverging(Healthy):
    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.Diverging(task, self.training(task))


class NotPicklingItself(Healthy):
    def __init__(self):
        self.change = lambda x: x


class StartedByProcess(Healthy):
    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.StartedByProcess(task, self.training(task))


class Forgetful(Healthy):
    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.Forgetful(task, self.training(task))


class WithoutNorms(Healthy):
    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.WithoutNorms(task, self.training(task))


class NotLogging(Healthy):
    def build_module(self, task, data):
        from dyt_defects import parts

        return parts.NotLogging(task, self.training(task))


class TheWrongWayRound(Healthy):
    metric = Metric(mode="max", **ERROR)


class NeverBeatingItsBaseline(Healthy):
    def reference_score(self, task, data):
        return 0.0


class Slow(Healthy):
    models = {"line": Model(step_s=1e-6, **LINE)}


class NotPickling(Healthy):
    def build_data(self, task):
        from dyt_defects import parts

        data = super().build_data(task)
        data.train = parts.Mapped(data.train, lambda x: x)
        return data


class DrawingInLoaders(Healthy):
    def build_data(self, task):
        from dyt_defects import parts

        data = super().build_data(task)
        data.train = parts.Mapped(data.train, parts.with_noise)
        return data


class TrustingItsPath(Healthy):
    def build_data(self, task):
        if task.path is not None:
            task.path.read_text()
        return super().build_data(task)


domain = Healthy()
