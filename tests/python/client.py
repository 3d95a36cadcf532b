"""A client in pyscard: lists, connects, transmits, or monitors cards."""

import os
import sys
import threading

from smartcard.CardMonitoring import CardMonitor, CardObserver
from smartcard.Exceptions import CardConnectionException, NoCardException
from smartcard.scard import (
    SCARD_ATTR_VENDOR_NAME,
    SCARD_CTL_CODE,
    SCARD_PROTOCOL_ANY,
    SCARD_SCOPE_USER,
    SCARD_SHARE_DIRECT,
    SCARD_STATE_UNAWARE,
    SCardConnect,
    SCardControl,
    SCardDisconnect,
    SCardEstablishContext,
    SCardGetAttrib,
    SCardGetErrorMessage,
    SCardGetStatusChange,
    SCardIsValidContext,
    SCardListReaders,
    SCardReleaseContext,
)
from smartcard.System import readers
from smartcard.util import toHexString

SELECT = [0x00, 0xA4, 0x04, 0x00, 0x0A, 0xA0, 0x00, 0x00, 0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01]
# A command that the card answers with 4,095 bytes.
LONG_ANSWER = list(bytes.fromhex(os.environ.get("LONG_ANSWER", "80E00FFF")))


class Printer(CardObserver):
    """Prints cards that come and go."""

    def update(self, observable, handlers):
        added, removed = handlers
        for word, cards in (("added", added), ("removed", removed)):
            for card in cards:
                print(word, toHexString(card.atr), flush=True)


def monitor():
    print("ready", flush=True)
    CardMonitor().addObserver(Printer())
    threading.Event().wait()


def exchange():
    for reader in readers():
        print(reader)
        connection = reader.createConnection()
        try:
            connection.connect()
        except (NoCardException, CardConnectionException) as error:
            print(type(error).__name__)
            continue
        print(toHexString(connection.getATR()), connection.getProtocol())
        print(connection.transmit(SELECT))
        data, sw1, sw2 = connection.transmit([0, 0, 0, 0])
        print("".join(map(chr, data)), sw1, sw2)
        data, sw1, sw2 = connection.transmit(LONG_ANSWER)
        print(len(data), sw1, sw2)
        connection.disconnect()


def raw():
    """The C API as pyscard passes it on."""
    result, context = SCardEstablishContext(SCARD_SCOPE_USER)
    print(SCardGetErrorMessage(result), SCardIsValidContext(context))
    result, names = SCardListReaders(context, [])
    print(result, names)
    print(SCardGetStatusChange(context, 0, [(name, SCARD_STATE_UNAWARE) for name in names]))
    print(SCardConnect(context, "no such reader", SCARD_SHARE_DIRECT, SCARD_PROTOCOL_ANY)[0])
    result, card, _ = SCardConnect(context, names[0], SCARD_SHARE_DIRECT, 0)
    print(result, SCardGetAttrib(card, SCARD_ATTR_VENDOR_NAME))
    print(SCardControl(card, SCARD_CTL_CODE(1), [1, 2, 3]))
    print(SCardControl(card, SCARD_CTL_CODE(3400), []))
    print(SCardDisconnect(card, 0), SCardReleaseContext(context))
    print(SCardReleaseContext(context), SCardIsValidContext(context))


if sys.argv[1:] == ["monitor"]:
    monitor()
else:
    exchange()
    raw()
