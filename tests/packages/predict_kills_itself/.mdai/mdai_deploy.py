"""Is ended as by the kernel when memory runs out."""

import os
import signal

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        os.kill(os.getpid(), signal.SIGKILL)
