import numpy


def ids():
    return {
        "type": "ANNOTATION",
        "study_uid": "1.2",
        "series_uid": "1.2.3",
        "instance_uid": "1.2.3.4",
        "class_index": 0,
    }


def vertices(count):
    angles = numpy.linspace(0, 2 * numpy.pi, count, endpoint=False)
    return numpy.stack([256 + 200 * numpy.cos(angles), 256 + 200 * numpy.sin(angles)], axis=1)


def boxes(count):
    return [
        {**ids(), "probability": 0.5, "data": {"x": i % 500, "y": i % 300, "width": 9, "height": 7}}
        for i in range(count)
    ]


class MDAIModel:
    """One long outline, of floats or of ints, or many boxes; the pictures play no part."""

    def predict(self, data):
        form, count = data["args"]["form"], int(data["args"]["count"])
        if form == "boxes":
            return boxes(count)
        outline = vertices(count)
        return [{**ids(), "data": {"vertices": (outline.astype(int) if form == "ints" else outline).tolist()}}]
