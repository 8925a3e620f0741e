"""Calls the method as other frameworks do."""


class MDAIModel:
    def forward(self, data):
        return []
