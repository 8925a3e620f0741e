"""The guest's life: greet the server, load the model once, answer one request after the other."""

import errno
import gc
import mmap
import os
import select
import socket
import sys
import time
import weakref

from . import (
    arenas,
    cancelling,
    garbage,
    groups,
    heap,
    hints,
    loading,
    parent_death,
    request,
    streams,
    visibility,
    wire,
)

#: Bytes of a request in a file that are read at once.
_COPIED = 1 << 20


def main(runtime, channel, parent):
    """Serve the channel until the server closes it; returns the exit code."""
    parent_death.follow(int(parent))
    heap.restore_environment()
    own_streams = streams.Streams()
    own_streams.mend()
    sock = socket.socket(fileno=streams.to_high(int(channel)))
    if runtime:
        sys.path.insert(0, runtime)
    import msgpack

    from . import encoding

    visibility.preload_standard_library()
    visibility.withdraw(runtime)
    gc.freeze()  # what is here stays; nobody need look through it again while the package is imported, or after
    gc.enable()
    return Host(sock, own_streams, msgpack, encoding).run()


class Host:
    """The loop over the channel, and the model once it is loaded."""

    def __init__(self, sock, own_streams, msgpack, encoding):
        self.sock = sock
        self.streams = own_streams
        self.msgpack = msgpack
        self.packer = msgpack.Packer(use_bin_type=True)
        self.encoding = encoding
        self.model = None
        self.root = ""
        self.label_classes = b""
        self.pid = os.getpid()
        self.request = self.response = self.outputs = None
        self.notice = None
        self.has_predicted = False
        self.set_aside = garbage.SetAside()
        self.incoming = select.poll()
        self.incoming.register(sock, select.POLLIN)
        os.register_at_fork(after_in_child=self.let_go)

    def run(self):
        actions = {"load": self.load, "predict": self.predict}
        while True:
            self.wait()
            try:
                payload, descriptors = wire.receive_frame(self.sock)
                if payload is None:
                    return 0
                message = self.msgpack.unpackb(payload, raw=False)
                answer = actions[message["do"]](message, descriptors)
                self.streams.flush()
                self.sock.sendall(wire.frame(self.packer.pack(answer)))
            except (OSError, MemoryError) as error:
                self.streams.tell(_last_words(error))
                return 1

    def wait(self):
        """Clear up, and wait for the next frame. Where none comes for a while, memory that is free is given back.

        What the model returned is freed now: lists of pixels take long, and nobody waits any more. What the package
        does on the way (it may have written a `__del__`) is mended as after a prediction. An alarm that it left behind
        may go off meanwhile; what its handler raises is printed, as nobody is there to catch it.
        """
        patience = heap.IDLE_MILLISECONDS
        while True:
            try:
                self.outputs = None
                self.end_if_forked()
                if self.has_predicted:
                    self.set_aside.after_request()
                self.streams.mend()
                if self.incoming.poll(patience):
                    return
                patience = None
                arenas.let_go()
                self.set_aside.anew()
                heap.give_back()
                self.streams.flush()
            except Exception as error:
                if isinstance(error, OSError) and error.errno is not None:
                    return  # poll's own, or all descriptors are closed; reading the channel says what is wrong
                self.streams.tell(loading.format_traceback(error))

    def load(self, message, descriptors):
        began = time.monotonic()
        if len(descriptors) != 1:
            raise OSError(errno.EMFILE, "the order to load came with %d descriptors instead of 1" % len(descriptors))
        self.notice = cancelling.Notice(streams.to_high(descriptors[0]))
        self.root = message["root"]
        self.label_classes = message["label_classes"]
        try:
            self.model = loading.load_model(self.root, message["import_folders"], message["hidden"])
        except loading.LoadingFailed as failure:
            self.end_if_forked(failure.__context__)
            return {"failed": failure.as_data()}
        self.end_if_forked()
        seconds = time.monotonic() - began
        version = "%d.%d.%d" % sys.version_info[:3]
        return {"ready": {"python": version, "pid": os.getpid(), "seconds": seconds}}

    def predict(self, message, descriptors):
        number = message["response"]
        is_new = self.response is None or self.response.number != number
        expected = ("body" not in message) + is_new
        if len(descriptors) != expected:
            came = "a request came with %d descriptors instead of %d" % (len(descriptors), expected)
            raise OSError(errno.EMFILE, came)
        if is_new:
            self.forget_response()
            self.response = Response(number, streams.to_high(descriptors.pop()))
        if descriptors:
            self.request = streams.to_high(descriptors.pop())
        return self.answer(message)

    def forget_request(self):
        if self.request is not None:
            os.close(self.request)
            self.request = None

    def forget_response(self):
        if self.response is not None and self.response.is_there():
            os.close(self.response.descriptor)
        self.response = None

    def answer(self, message):
        began = time.monotonic()
        try:
            call = groups.Call(self.model, self.decode(message))
        except (OSError, MemoryError):  # the process has no descriptor or no memory left for it
            raise
        except Exception as error:  # whatever msgpack finds wrong with the body is the caller's to mend
            return error_of(wire.ERROR_REQUEST, "the body is not valid msgpack: %s" % loading.describe(error))
        decoded = time.monotonic()
        try:
            outputs = self.predicted(call, message["number"])
        except BaseException as error:  # the package may raise anything, SystemExit too
            self.end_if_forked(error)
            text, trace = loading.explain(call.name, error)
            return error_of(wire.ERROR_MODEL, text + hints.about_predict(error, self.root), trace)
        predicted = time.monotonic()
        del call
        sink = self.encoding.Sink(self.response.checked, message["most"], wire.SMALL)
        try:
            size, skeleton = self.encoding.write_into(outputs, sink, message["accept"])
        except self.encoding.Unwritable as error:
            cause = error.__cause__  # what an object of the package's raised while it was looked at
            return error_of(wire.ERROR_OUTPUT, str(error), loading.format_traceback(cause) if cause else "")
        except self.encoding.TooLong as error:
            return error_of(wire.ERROR_OUTPUT, "%s. Return less at once, or raise it." % error)
        except self.encoding.NoRoom as error:
            return error_of(wire.ERROR_OUTPUT, "%s. %s" % (error, _what_helps(error.__cause__)))
        except MemoryError:
            raise
        except BaseException as error:  # the same, in the list itself
            return error_of(wire.ERROR_OUTPUT, *loading.explain("writing the outputs", error))
        encoded = time.monotonic()
        self.has_predicted = True
        if message["free_first"]:
            arenas.let_go()
        else:
            self.outputs = outputs
        timings = {"decode": decoded - began, "predict": predicted - decoded, "encode": encoded - predicted}
        return {"done": {"size": size, "skeleton": skeleton, "timings": timings, "small": sink.small}}

    def predicted(self, call, number):
        cancelled = cancelling.Cancelled(self.notice, number)
        held = weakref.ref(cancelled)
        cancelling.publish(self.model, cancelled)
        try:
            return call.outputs(self.encoding.materialise, self.end_if_forked, cancelled.is_set)
        finally:
            cancelling.publish(self.model, None)
            del cancelled
            left = held()
            if left is not None:  # nobody can look at one that nobody holds
                left.end()

    def let_go(self):
        """In a child that the package forked: give up the channel, and the request, whose memory would live on."""
        self.sock.close()
        self.forget_response()
        self.forget_request()

    def end_if_forked(self, error=None):
        """End a child that the package forked and that left its code as the parent does: it must not answer."""
        if os.getpid() == self.pid:
            return
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            code = 1
            self.streams.tell(loading.format_traceback(error))
        self.streams.flush()
        os._exit(code & 0xFF)

    def decode(self, message):
        if self.request is None:
            data = self.unpacked(message["body"])
        else:
            try:
                data = self.unpacked_file(self.request, message["size"])
            finally:  # not later: the package may close it, and open a file of its own under its number
                self.forget_request()
        return request.adapt(data, self.default_label_classes, message["folder"])

    def unpacked_file(self, descriptor, size):
        """What lies in that many bytes: up to a megabyte it takes longer to map them than to copy them."""
        if size <= _COPIED:
            return self.unpacked(os.pread(descriptor, size, 0))
        with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as mapping:
            return self.unpacked(mapping)

    def unpacked(self, body):
        return self.msgpack.unpackb(body, raw=False, strict_map_key=True)

    def default_label_classes(self):
        """Those that the package brings, for a request without."""
        return self.msgpack.unpackb(self.label_classes, raw=False)


class Response:
    """The buffer that long answers are written to, under the server's number for it.

    It is here from one request to the next: a package that closes descriptors that it did not open may get its number
    for a file of its own, which must not be written to.
    """

    def __init__(self, number, descriptor):
        self.number = number
        self.descriptor = descriptor
        self._identity = streams.identity(descriptor)

    def is_there(self):
        return streams.identity(self.descriptor) == self._identity

    def checked(self):
        """The descriptor. Raises OSError where it is not the buffer any more."""
        if not self.is_there():
            raise OSError(errno.EBADF, "the package closed a descriptor that it did not open, and answers went there")
        return self.descriptor


def _what_helps(error):
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        return "The next answer gets another; have the package close only what it opened."
    return "Return less at once, or give the service more memory."


def _last_words(error):
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    if number == errno.EMFILE:
        return "the worker has no file descriptor left: the model opens files or sockets and does not close them"
    if number == errno.ENOMEM:
        return "the worker has no memory left for a request or its answer: the model holds what there is"
    if number == errno.ENOSPC:
        return "there is no room left in memory for the answer"
    # The package closed our descriptor, or the server is gone.
    return "the worker lost its channel to the server: %s" % error


def error_of(kind, text, traceback=""):
    return {"error": {"kind": kind, "text": wire.shorten(text), "traceback": wire.shorten(traceback)}}
