"""Goes on for ever, whatever is raised."""

import threading

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        while True:
            try:
                threading.Event().wait()
            except:  # noqa: E722
                pass
