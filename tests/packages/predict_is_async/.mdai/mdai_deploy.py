"""A predict that has to be awaited."""


class MDAIModel:
    async def predict(self, data):
        return []
