"""Builds the model in a function."""


def MDAIModel():
    return object()
