"""What can be wrong with a request or with a model's outputs.

::

    InterfaceError
    ├── MalformedBody          the body is no msgpack
    ├── InvalidRequest         it is msgpack, but not a request
    │   └── RequestTooLarge    a part of it is over a limit of this server's
    └── InvalidOutput          the model's outputs are not what the interface asks for

The first ones are the caller's fault, the last is the model's. ``str(error)`` is one or more complete sentences for
a person: what was found, where, and what to do next. Nothing here knows HTTP.
"""


class InterfaceError(Exception):
    """Something that crossed the model interface does not keep to it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class MalformedBody(InterfaceError):
    """The request body cannot be read as msgpack."""


class InvalidRequest(InterfaceError):
    """The request body is well-formed msgpack of the wrong shape."""


class RequestTooLarge(InvalidRequest):
    """The request has more files, or more data beside the files' content, than this server takes."""


class InvalidOutput(InterfaceError):
    """What the model returned cannot be passed on; the text names every place, up to a cap."""
