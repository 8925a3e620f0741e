"""How a process ended, in words."""

import signal


def manner_of(returncode: int | None) -> str:
    """The rest of a sentence that begins with the process, from what `subprocess` knows of its end."""
    if returncode is None:
        return "ended"
    if returncode >= 0:
        return f"ended itself with exit code {returncode} (sys.exit, os._exit or a native library)"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else "an unknown signal"
    hint = ""
    if -returncode == signal.SIGKILL:
        hint = ", which is how the kernel ends a process when memory runs out,"
    elif -returncode in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
        hint = ", a crash in native code,"
    return f"was ended by signal {-returncode} ({name}){hint}"
