"""Has modules of the same name in several folders, one deep in the package, one in a folder of its own name without
__init__.py, and a legacy mdai_deploy.py at the root."""

import json
import os
import sys

from lib.helper import PLACE as BY_LIB
from model.net import NAME

import beside
import deep
import helper
import net
import twice


class MDAIModel:
    def predict(self, data):
        import mdai_deploy
        import model

        seen = {
            "places": [module.PLACE for module in (helper, beside, twice, deep)],
            "deploy": mdai_deploy.MDAIModel is type(self),
            "model": [NAME, net.NAME, list(model.__path__)],
            "lib": BY_LIB,
            "path": sys.path,
            "working directory": os.getcwd(),
        }
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(seen)}]
