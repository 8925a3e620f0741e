"""Is a script that ends the interpreter."""

import sys


class MDAIModel:
    def predict(self, data):
        return []


sys.exit(3)
