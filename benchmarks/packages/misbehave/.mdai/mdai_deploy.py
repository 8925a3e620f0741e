import os
import re
import time


class MDAIModel:
    """Holds the interpreter for about so many seconds in calls into C, or aborts the process."""

    def predict(self, data):
        if data["args"].get("abort"):
            os.abort()
        end = time.monotonic() + float(data["args"].get("hold", 0))
        while time.monotonic() < end:
            re.match(r"(a+)+$", "a" * 24 + "b")
        return [{"type": "NONE", "study_uid": "1.2"}]
