"""A domain that is slow to look at."""

import numpy

from dyt_defects import Healthy


class Heavy(Healthy):
    margin = numpy.float64(0.01)


domain = Heavy()
