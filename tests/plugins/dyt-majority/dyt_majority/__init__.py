"""The model and the data set of `majority`, as a domain."""

from dyt_bench.plugin.domain import Dataset, Domain, Metric, Model


class Majority(Domain):
    api_version = 2
    name = "majority"
    summary = "which letter of a sequence occurs most often"
    unit = "sequence"
    metric = Metric(name="val/acc", mode="max", title="accuracy", margin=0.01)
    models = {
        "encoder": Model(
            summary="transformer encoder, 2 layers of 32",
            library="torch",
            native_norm="LayerNorm",
            steps=200,
            batch_size=32,
            learning_rate=3e-3,
        )
    }
    datasets = {
        "letters": Dataset(
            summary="2,000 + 500 sequences of 12 letters",
            source="made when it is read",
            licence="MIT",
            files=lambda path: [],
        )
    }

    def build_data(self, task):
        from majority import sequences

        from dyt_bench.plugin.data import SeededDataModule, at_most

        train = at_most(sequences(2000, seed=0), task.train_samples)
        return SeededDataModule(
            train, sequences(500, seed=1), batch_size=task.batch_size, seed=task.seed
        )

    def build_module(self, task, data):
        from majority import LETTERS, Classifier
        from torch.nn.functional import cross_entropy
        from torchmetrics.classification import MulticlassAccuracy

        from dyt_bench.plugin.module import SupervisedModule
        from dyt_bench.plugin.optim import optimization

        return SupervisedModule(
            Classifier(),
            cross_entropy,
            **optimization(task, self.training(task)),
            metrics={"acc": MulticlassAccuracy(LETTERS, average="micro")},
        )


domain = Majority()
