"""Pins versions that the server itself could not run with."""

import json

import msgpack
import pydantic


class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps([msgpack.version, pydantic.VERSION, data['files'][0]['content'] == b'x'])}]
