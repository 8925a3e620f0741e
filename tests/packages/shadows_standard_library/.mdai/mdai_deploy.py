"""Has modules named like the standard library's: those the server always loads do not win, the others do."""

import json
import queue
import random
import test
import types


class MDAIModel:
    def predict(self, data):
        import tempfile

        own = [getattr(module, "OWN", False) for module in (random, types, queue, tempfile, test)]
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(own)}]
