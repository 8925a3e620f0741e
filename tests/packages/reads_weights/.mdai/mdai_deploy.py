"""Reads its weights by the working directory and by its own file's place, at import, in __init__ and in predict."""

import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def read_all():
    places = ("./lib/weights.bin", "lib/weights.bin", os.path.join(HERE, "..", "weights.bin"), HERE + "/near.bin")
    contents = []
    for place in places:
        with open(place) as file:
            contents.append(file.read())
    with open(os.path.join("lib", os.environ["MDAI_PATH"], "near.bin")) as file:
        contents.append(file.read())
    return contents


AT_IMPORT = read_all()


class MDAIModel:
    def __init__(self):
        self.at_init = read_all()

    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps([AT_IMPORT, self.at_init, read_all()])}]
