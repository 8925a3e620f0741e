"""Has a legacy module of the same name at the root."""

import json


class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps("the one in .mdai")}]
