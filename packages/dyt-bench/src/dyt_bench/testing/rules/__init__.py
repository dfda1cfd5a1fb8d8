"""Every rule, in the order of checking: a rule comes after those that it needs."""

from dyt_bench.testing.rules.batches import leak, loader_workers, pickles
from dyt_bench.testing.rules.declared import contract, import_
from dyt_bench.testing.rules.files import bad_data
from dyt_bench.testing.rules.learning import improves, logs, reference, step
from dyt_bench.testing.rules.parts import parts, seeds, units, validation
from dyt_bench.testing.rules.training import process, repeat, resume, same_start, trains, variants

RULES = (
    contract,
    import_,
    parts,
    units,
    seeds,
    leak,
    validation,
    trains,
    process,
    repeat,
    resume,
    variants,
    same_start,
    pickles,
    loader_workers,
    logs,
    improves,
    reference,
    step,
    bad_data,
)
