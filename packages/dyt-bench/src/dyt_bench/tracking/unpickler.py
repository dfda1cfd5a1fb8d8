"""Reads the models that `models` logs, for ``mlflow.pytorch.load_model``; nothing in them is run.

MLflow's way to keep a PyTorch model is a pickle of its object: whoever loads one runs whatever its
file says, and it loads only beside the very code that wrote it. Ours hold tensors and the run's
description. A model's folder names the module that its file is to be unpickled with, which is this
one: of everything that a pickle can call it allows what puts tensors together, and it builds the
module as the run did, by the plug-ins that are installed.
"""

import json
import pickle
from typing import Any

# What PyTorch reads a tensor with, and what it gives it where tensors have no hooks.
_ALLOWED = {("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict")}


class Unpickler(pickle.Unpickler):
    """Loads the trained module, in evaluation mode.

    PyTorch reads the tensors' values itself, and calls this for what holds them.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What a file asks to call.

        Raises:
            pickle.UnpicklingError: it is neither a tensor nor a container of tensors.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"a run's weights hold tensors alone, got {module}.{name}")
        return super().find_class(module, name)

    def load(self) -> Any:
        """The module.

        Raises:
            UserError: the file is of another version of the code.
        """
        from dyt_bench.records.weights import rebuilt

        content = super().load()
        return rebuilt(json.loads(content["run"]), content["weights"], "this model")[2]
