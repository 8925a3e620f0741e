"""Names its class in another way."""

import decimal
from collections import OrderedDict  # noqa: F401


class LungFinder:
    def predict(self, data):
        return []


decimal.getcontext()
