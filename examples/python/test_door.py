"""Tests of door.py, for unittest and pytest: see docs/testing.md."""

import threading
import unittest

from door import Refused, open_door
from virtual_card import Slot, VirtualCard


class Badge(VirtualCard):
    """The card that the program expects."""

    def __init__(self, removed_by=None):
        self.removed_by = removed_by
        self.tries = 3
        self.is_selected = False

    def reset(self):
        self.is_selected = False

    def transmit(self, command):
        if command[1] == self.removed_by:
            return None
        if command[:4] == bytes.fromhex("00A40400"):
            self.is_selected = command[5:] == b"\xF0BADGE"
            return b"\x90\x00" if self.is_selected else b"\x6A\x82"
        if self.is_selected and command[:4] == bytes.fromhex("00200081"):
            if command[5:] == b"1234":
                return b"\x90\x00"
            self.tries -= 1
            return bytes([0x63, 0xC0 | self.tries])
        if self.is_selected and command[1] == 0xB0:
            return b"Ada Lovelace\x90\x00"
        return b"\x6D\x00"


class DoorTest(unittest.TestCase):
    slot = Slot()

    def tearDown(self):
        self.slot.remove()

    def test_opens_for_a_badge_and_its_pin(self):
        self.slot.insert(Badge())
        self.assertEqual(open_door("1234"), "Ada Lovelace")

    def test_stays_closed_after_a_wrong_pin(self):
        self.slot.insert(Badge())
        for left in 2, 1:
            with self.assertRaisesRegex(Refused, f"{left} tries left"):
                open_door("0000")

    def test_stays_closed_for_another_card(self):
        self.slot.insert(VirtualCard())
        with self.assertRaisesRegex(Refused, "not a badge"):
            open_door("1234")

    def test_stays_closed_if_the_badge_is_removed_in_the_middle_of_a_command(self):
        for command in 0xA4, 0x20, 0xB0:
            self.slot.insert(Badge(removed_by=command))
            with self.assertRaisesRegex(Refused, "removed"):
                open_door("1234")

    def test_opens_for_a_badge_that_replaces_one_in_the_middle_of_a_command(self):
        slot, is_there = self.slot, threading.Event()

        class Replaced(VirtualCard):
            def transmit(self, command):
                slot.insert(Badge())
                is_there.set()
                return None

        slot.insert(Replaced())
        with self.assertRaisesRegex(Refused, "removed"):
            open_door("1234")
        self.assertTrue(is_there.wait(10))
        self.assertEqual(open_door("1234"), "Ada Lovelace")


if __name__ == "__main__":
    unittest.main()
