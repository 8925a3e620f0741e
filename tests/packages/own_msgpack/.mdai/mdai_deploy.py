"""Brings an msgpack of its own, of a version that the server could not use."""

import json

import msgpack


class MDAIModel:
    def predict(self, data):
        import msgpack as later

        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps([msgpack.version, later.version])}]
