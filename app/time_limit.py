"""`X-Request-Timeout`: how long a caller will wait for its prediction."""

from app.interface.wording import visible
from app.refusals import BadTimeLimit
from app.settings import parse_duration

HEADER = "X-Request-Timeout"
_NAME = HEADER.lower().encode()


def time_limit(headers: dict[bytes, bytes]) -> float | None:
    """Seconds that a request allows for its wait in line and its predict; None without the header.

    Raises BadTimeLimit.
    """
    if _NAME not in headers:
        return None
    given = headers[_NAME].decode("latin-1")
    try:
        seconds = parse_duration(given)
    except ValueError:
        seconds = None
    if not isinstance(seconds, float) or seconds <= 0:
        raise BadTimeLimit(
            f"{HEADER} is {visible(given, 100)}, which is no time to wait: write seconds, as 30, or a duration, as 90s"
            " or 10m, or leave the header out."
        )
    return seconds
