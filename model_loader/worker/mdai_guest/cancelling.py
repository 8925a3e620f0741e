"""How a model learns that nobody waits for its answer: `mdai_cancelled`, an event, since version 0.4 of the interface.

The server notes the number of an abandoned request in a few bytes of memory that both share, and the event reads them.
That takes no thread, which would run beside the package's forks (Python warns of these from 3.12 on), and no signal,
which would interrupt its system calls. Children that it forks see it as well. The bytes are read and not mapped: a
package that shrinks the file that it finds among its descriptors, or closes it, loses the event and not its process.
"""

import os
import threading
import time

from . import wire

#: Seconds between two looks of one that waits for the event.
_LOOK_EVERY = 0.02


class Notice:
    """The number of the request that nobody waits for, as the server has noted it; 0 before it has noted any."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def number(self):
        try:
            read = os.pread(self._descriptor, wire.NUMBER.size, 0)
        except OSError:
            return 0
        return wire.NUMBER.unpack(read)[0] if len(read) == wire.NUMBER.size else 0


class Cancelled(threading.Event):
    """Set once nobody waits for the request of this number; after the request it stays as it is.

    Few models look, and what an event consists of takes long to make: it is made for the first who does.
    """

    def __init__(self, notice, number):
        self._notice = notice
        self._number = number

    def __getattr__(self, name):
        """What an event consists of, as Python makes it. Where two threads look at once, both get the same."""
        made = vars(threading.Event())
        if name not in made:
            raise AttributeError("%r object has no attribute %r" % (type(self).__name__, name))
        return vars(self).setdefault(name, made[name])

    def is_set(self):
        notice = self._notice
        return (notice is not None and notice.number() == self._number) or super().is_set()

    isSet = is_set  # noqa: N815 (older Pythons' name: there it is an alias of the method that this one replaces)

    def wait(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LOOK_EVERY if end is None else min(_LOOK_EVERY, end - time.monotonic())
            if left <= 0:
                return False
            super().wait(left)
        return True

    def __reduce__(self):
        """Copies and pickles are plain events: a model that sends itself to a child process can go on doing so."""
        return threading.Event, ()

    def end(self):
        """The request is over; a thread that the package leaves behind may still hold the event."""
        if self._notice is not None and self._notice.number() == self._number:
            self.set()
        self._notice = None


def publish(model, event):
    """Make `event`, or None, the model's `mdai_cancelled`; one that takes no attribute does without."""
    try:
        model.mdai_cancelled = event
    except Exception:  # whatever the package's own __setattr__ raises
        return
