"""Has modules and packages with the server's names, and with the standard library's, loaded early and hardly ever."""

import json
import queue
import random
import types

import app
import args
import mdai_guest
import model_loader
import model_loader.network
import test
import utils
import wire
import worker


class MDAIModel:
    def predict(self, data):
        import tempfile  # now that the server has been at work in between
        from model_loader import network

        modules = (app, args, mdai_guest, model_loader, network, queue, random, tempfile, test, types, utils, wire, worker)
        own = {module.__name__: getattr(module, "OWN", None) for module in modules}
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(own)}]
