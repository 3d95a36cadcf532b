"""A process that drives its readers itself, by the C interface: it forks, and it unloads the library.

Arguments: the library, and a part of the reader's name.
"""

import _ctypes
import ctypes
import os
import sys
import time

library, part = sys.argv[1:]
COMMAND = bytes([0x80, 0x10, 0, 0])


class Request(ctypes.Structure):
    """SCARD_IO_REQUEST."""

    _fields_ = [("protocol", ctypes.c_ulong), ("length", ctypes.c_ulong)]


class Client:
    """A context, and a connection."""

    def __init__(self, pcsc):
        self.pcsc = pcsc
        self.context = ctypes.c_long()
        self.card = ctypes.c_long()

    def establish(self):
        return self.pcsc.SCardEstablishContext(2, None, None, ctypes.byref(self.context)) & 0xFFFFFFFF

    def names(self):
        text = ctypes.create_string_buffer(4096)
        length = ctypes.c_ulong(4096)
        code = self.pcsc.SCardListReaders(self.context, None, text, ctypes.byref(length))
        if code:
            return []
        return [name for name in text.raw[: length.value].split(b"\0") if part.encode() in name]

    def connect(self):
        names = self.names()
        if not names:
            return "not listed"
        protocol = ctypes.c_ulong()
        return hex(
            self.pcsc.SCardConnect(
                self.context, names[0], 2, 3, ctypes.byref(self.card), ctypes.byref(protocol)
            )
            & 0xFFFFFFFF
        )

    def transmit(self):
        answer = ctypes.create_string_buffer(300)
        length = ctypes.c_ulong(300)
        code = self.pcsc.SCardTransmit(
            self.card, ctypes.byref(Request(1, 16)), COMMAND, len(COMMAND), None, answer, ctypes.byref(length)
        )
        return answer.raw[: length.value].hex() if code == 0 else hex(code & 0xFFFFFFFF)

    def release(self):
        return hex(self.pcsc.SCardReleaseContext(self.context) & 0xFFFFFFFF)


def load():
    pcsc = ctypes.CDLL(library)
    for name in ("SCardEstablishContext", "SCardReleaseContext", "SCardListReaders", "SCardConnect", "SCardTransmit"):
        getattr(pcsc, name).restype = ctypes.c_long
    return pcsc


def tell(name, value):
    print(f"{name}: {value}", flush=True)


def threads():
    """A thread that was joined is listed until the kernel has done with it."""
    for _ in range(18000):
        if len(os.listdir("/proc/self/task")) == 1:
            break
        time.sleep(0.01)
    return len(os.listdir("/proc/self/task"))


def files():
    return len(os.listdir("/proc/self/fd"))


def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            sys.stdout.flush()
            os._exit(0)
    tell("child-ended", os.waitpid(child, 0)[1])


def without_its_parent():
    """Goes on in a child when the process that has used the reader has ended, as daemon(3) has it."""
    parent = Client(pcsc)
    tell("daemon/parent-establishes", parent.establish())
    tell("daemon/parent-connects", parent.connect())
    parent_lives, lives = os.pipe()
    if os.fork():
        os._exit(0)
    os.close(lives)
    os.read(parent_lives, 1)
    own = Client(pcsc)
    tell("daemon/establishes", own.establish())
    tell("daemon/connects", own.connect())
    tell("daemon/transmits", own.transmit())
    tell("daemon/releases", own.release())


pcsc = load()
daemon_lives, lives = os.pipe()
in_child(without_its_parent)
os.close(lives)
os.read(daemon_lives, 1)
os.close(daemon_lives)
parent = Client(pcsc)
tell("parent-establishes", parent.establish())
tell("parent-connects", parent.connect())
tell("parent-transmits", parent.transmit())


def beside_the_parent():
    tell("child-of-user/parents-card", parent.transmit())
    tell("child-of-user/parents-context", parent.release())
    own = Client(pcsc)
    tell("child-of-user/establishes", own.establish())
    tell("child-of-user/lists", len(own.names()))
    tell("child-of-user/connects", own.connect())
    tell("child-of-user/releases", own.release())


in_child(beside_the_parent)
tell("parent-transmits-again", parent.transmit())
tell("parent-releases", parent.release())


def alone():
    own = Client(pcsc)
    tell("child-of-idle/establishes", own.establish())
    tell("child-of-idle/connects", own.connect())
    tell("child-of-idle/transmits", own.transmit())
    tell("child-of-idle/releases", own.release())


in_child(alone)
tell("threads", threads())
_ctypes.dlclose(pcsc._handle)
tell("threads-unloaded", threads())
before = files()
for _ in range(10):
    pcsc = load()
    client = Client(pcsc)
    assert client.establish() == 0
    assert client.connect() == "0x0"
    assert client.release() == "0x0"
    _ctypes.dlclose(pcsc._handle)
tell("threads-at-the-end", threads())
tell("files-left", files() - before)
