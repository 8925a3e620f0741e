"""Opens files for each request, as many as it can, and never closes them."""

import json
import os
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
opened = []


class MDAIModel:
    def predict(self, data):
        try:
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(os.getpid())}]
