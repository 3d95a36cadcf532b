"""A program to test: opens a door for a badge and its PIN. It knows nothing of the simulation."""

from smartcard.Exceptions import CardConnectionException, NoCardException
from smartcard.System import readers

AID = [0xF0, *b"BADGE"]


class Refused(Exception):
    """Why the door stays closed."""


def open_door(pin):
    """Returns the name of the badge's holder."""
    connection = readers()[0].createConnection()
    try:
        connection.connect()
        _, *status = connection.transmit([0x00, 0xA4, 0x04, 0x00, len(AID), *AID])
        if status != [0x90, 0x00]:
            raise Refused("not a badge")
        digits = list(pin.encode())
        _, *status = connection.transmit([0x00, 0x20, 0x00, 0x81, len(digits), *digits])
        if status != [0x90, 0x00]:
            raise Refused(f"wrong PIN, {status[1] & 0x0F} tries left")
        name, *status = connection.transmit([0x00, 0xB0, 0x00, 0x00, 0x00])
        return bytes(name).decode()
    except NoCardException:
        raise Refused("no badge") from None
    except CardConnectionException:
        raise Refused("the badge was removed") from None
    finally:
        connection.disconnect()
