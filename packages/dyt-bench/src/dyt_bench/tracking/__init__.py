"""Records -> MLflow: `Tracker` follows runs while they run, `sync` fills any store afterwards.

The records are the truth, and MLflow has a copy. Everything here may fail, be sent twice or be
repeated: no run and no point is lost or duplicated by it. Nothing here draws figures: the
caller passes a function that does.
"""

from dyt_bench.tracking.store import IDENTITY_TAG as IDENTITY_TAG
from dyt_bench.tracking.tracker import Tracker as Tracker
