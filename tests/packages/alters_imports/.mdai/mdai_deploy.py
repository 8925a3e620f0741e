"""Empties the import path and forgets every module."""

import json
import os
import sys

note = json.dumps(os.getpid())


class MDAIModel:
    def predict(self, data):
        sys.path[:] = []
        sys.meta_path[:] = []
        sys.path_hooks[:] = []
        for name in list(sys.modules):
            if name not in ("sys", "builtins"):
                del sys.modules[name]
        return [{"type": "NONE", "study_uid": "1.2", "note": note}]
