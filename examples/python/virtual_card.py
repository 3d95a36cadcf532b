"""Smart cards written in Python, for tests: they connect to the reader of PCSCLITE_SIMULATED=vpcd:35963."""

import contextlib
import socket
import threading
import time


class VirtualCard:
    """A card. A subclass answers commands."""

    # T=1 at 372/1 (ISO/IEC 7816-3, clause 8).
    atr = bytes.fromhex("3B800181")

    def reset(self):
        """The card was reset or powered up."""

    def transmit(self, command):
        """Returns the response APDU to a command APDU. None: the card is pulled out instead."""
        return b"\x6D\x00"


class Slot:
    """The reader's slot. The port is open while the process has a PC/SC context."""

    def __init__(self, port=35963):
        self.address = ("127.0.0.1", port)
        self.inserted = None

    def insert(self, card):
        """Inserts a card, in place of any other."""
        self.remove()
        self.inserted = _Inserted(card, self.address)

    def remove(self):
        """Removes the card."""
        if self.inserted:
            self.inserted.remove()
            self.inserted = None


class _Inserted:
    """A card in the slot. Its connection is its own: the next card may be inserted before this one has ended."""

    def __init__(self, card, address):
        self.card = card
        self.address = address
        self.lock = threading.Lock()
        self.is_removed = False
        self.connection = None
        self._try_to_connect()
        threading.Thread(target=self._serve, daemon=True).start()

    def remove(self):
        with self.lock:
            self.is_removed = True
            if self.connection:
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                self.connection.close()

    def _try_to_connect(self):
        with self.lock, contextlib.suppress(ConnectionRefusedError):
            if not self.is_removed:
                self.connection = socket.create_connection(self.address)

    def _serve(self):
        # The program opens the port with its first context, and waits a second for the first card.
        while not self.connection and not self.is_removed:
            time.sleep(0.002)
            self._try_to_connect()
        # The reader is gone, or the card was removed.
        with contextlib.suppress(OSError):
            self._answer()

    def _answer(self):
        if not self.connection:
            return
        stream = self.connection.makefile("rwb")
        while length := int.from_bytes(stream.read(2), "big"):
            message = stream.read(length)
            if message == b"\x04":
                answer = self.card.atr
            elif length == 1:
                # 0 is power off, 1 power on, 2 reset.
                if message != b"\x00":
                    self.card.reset()
                continue
            else:
                answer = self.card.transmit(message)
            if answer is None:
                self.remove()
                return
            stream.write(len(answer).to_bytes(2, "big") + answer)
            stream.flush()
