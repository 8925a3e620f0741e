"""What the search for garbage looks at: not again and again at what is there since the model was loaded.

Where a model makes 100,000 lists, Python looks for cycles of objects that nobody uses, several times and among all
objects there are: those of numpy, pydicom, torch and the model too, which takes longer than to make the lists. So what
is there after the first request is set aside, and looked at when no request comes for a while. A package that
switches the search off is left alone.
"""

import gc


class SetAside:
    """The objects that are set aside."""

    def __init__(self):
        self._has_begun = False

    def after_request(self):
        """Set aside what is there, the first time; returns whether it was."""
        if self._has_begun:
            return False
        self._has_begun = True
        return self.anew()

    def anew(self):
        """Free what is garbage by now, of what was set aside too, and set the rest aside; returns whether it did."""
        if not gc.isenabled():
            return False
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return True
