"""The guest: hosts one MDAIModel in the package's own interpreter and answers the server over a socket.

    PYTHON -I model_loader/worker/__main__.py RUNTIME CHANNEL PARENT

RUNTIME   folder with a private msgpack for this interpreter, or "" to use the interpreter's own
CHANNEL   number of the inherited Unix stream socket to the server
PARENT    process id of the server; the guest ends when that process does

Working directory and environment variables are the ones that the package is to see. What is said over the channel
is written down in `mdai_guest.wire`. The guest runs on Python 3.7 and newer with the standard library and msgpack.
It imports its own modules first and then takes them, its folder and its msgpack out of the interpreter's sight, so
that the package sees the versions it asked for and none of our names.

`mdai_deploy` is imported, `MDAIModel` built and `predict` called on this process's main thread.
Exit codes: 0 the server closed the channel, 1 the channel broke, 2 wrong call.
"""

if __name__ == "__main__":  # a child process of the package's may import this file again under another name
    import gc
    import os
    import sys

    gc.disable()  # until the package's turn (see hosting): of what is loaded nothing is garbage, and looking takes long
    sys.dont_write_bytecode = True  # the package's folder is served in place and never written to
    if len(sys.argv) != 4:
        sys.exit("the model server starts this process itself; to serve a package: mdai-model serve PACKAGE")
    # As Python does for `PYTHON FOLDER`, which takes a third of its start: what `multiprocessing` starts looks at this.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    __spec__ = type(sys.__spec__)("__main__", None, origin=__file__)
    from mdai_guest.hosting import main

    sys.exit(main(*sys.argv[1:]))
