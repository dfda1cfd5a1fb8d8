"""Records -> MLflow. `Tracker` follows a run as it goes, `sync` fills any store afterwards.

The records are the truth and MLflow a copy of them: everything here may fail, be sent twice or
be done again, and neither a run nor a point is lost or doubled by it.
"""

from dyt_bench.tracking.mirror import IDENTITY_TAG as IDENTITY_TAG
from dyt_bench.tracking.tracker import Tracker as Tracker
