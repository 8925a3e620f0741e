"""Requests that are refused by their headers or their upload, before anybody looks into the body.

``str(refusal)`` is one or more complete sentences for the caller; ``app.problems`` knows the statuses.
"""


class RequestError(Exception):
    """The request goes no further than its headers and its upload."""


class Unauthorized(RequestError):
    """The request brings no API key that is accepted; `challenge` says what would be one, as `WWW-Authenticate`."""

    def __init__(self, text: str, challenge: str = "Bearer") -> None:
        super().__init__(text)
        self.challenge = challenge


class UnsupportedMediaType(RequestError):
    """The body is of a kind that this service does not read, or does not say what it is."""


class BadTimeLimit(RequestError):
    """The time that the caller allows is none."""


class BodyTooLarge(RequestError):
    """The body, or a part of it, is over a limit."""


class UploadStalled(RequestError):
    """The caller stopped sending in the middle of the body."""


class OutOfResources(RequestError):
    """This machine has no memory or no descriptors left to take the body."""


class LoadedFilesFull(RequestError):
    """There is no room for more files that are loaded ahead of their requests."""


class ClientGone(RequestError):
    """The caller closed the connection; there is nobody to answer."""
