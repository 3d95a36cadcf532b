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
        self.connection = None
        self.removed = threading.Event()

    def insert(self, card):
        """Inserts a card, in place of any other."""
        self.remove()
        self.removed = threading.Event()
        with contextlib.suppress(ConnectionRefusedError):
            self.connection = socket.create_connection(self.address)
        threading.Thread(target=self._serve, args=(card, self.removed), daemon=True).start()

    def remove(self):
        """Removes the card."""
        self.removed.set()
        if self.connection:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()
            self.connection = None

    def _serve(self, card, removed):
        # The program opens the port with its first context, and waits a second for the first card.
        while not self.connection and not removed.is_set():
            try:
                self.connection = socket.create_connection(self.address)
            except ConnectionRefusedError:
                time.sleep(0.002)
        with contextlib.suppress(OSError, AttributeError):
            stream = self.connection.makefile("rwb")
            while length := int.from_bytes(stream.read(2), "big"):
                message = stream.read(length)
                if message == b"\x04":
                    answer = card.atr
                elif length == 1:
                    # 0 is power off, 1 power on, 2 reset.
                    if message != b"\x00":
                        card.reset()
                    continue
                else:
                    answer = card.transmit(message)
                if answer is None:
                    self.remove()
                    return
                stream.write(len(answer).to_bytes(2, "big") + answer)
                stream.flush()
