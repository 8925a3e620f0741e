"""Pins versions that the server itself could not run with."""

import json

import msgpack
import pydantic


class MDAIModel:
    def predict(self, data):
        seen = {
            "msgpack": msgpack.version,
            "pydantic": pydantic.VERSION,
            "content arrived": data["files"][0]["content"] == b"x",
        }
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(seen)}]
