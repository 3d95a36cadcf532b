#!/usr/bin/env python3
"""Wraps comment lines that are longer than max_width of rustfmt.toml, which rustfmt leaves as they are.

Usage: tests/wrap-comments.py [--check] [FILE...]
Without files: all Rust files under version control. With --check nothing is written; lines that are too long are
printed, and the exit code is 1 if there are any. Tables and examples in comments are left alone.
"""

import re
import subprocess
import sys

WIDTH = int(re.search(r"max_width = (\d+)", open("rustfmt.toml").read()).group(1))
COMMENT = re.compile(r"^(\s*//[/!]?) ?(.*)$")
ITEM = re.compile(r"^\s*([*-]|\d+\.) ")
# What does not continue the paragraph before it.
BEGIN = re.compile(r"^\s*([*|#-]|\d+\.|```|\[[^]]*\]:)")


def indent(text):
    """The indentation of the lines that continue this one."""
    item = ITEM.match(text)
    return " " * len(item.group(0)) if item else re.match(r"\s*", text).group(0)


def split(text, room):
    """The words that fit and the rest; None if there is no place to break. Code spans are not broken."""
    place = text.rfind(" ", 0, room + 1)
    while place > 0 and text[:place].count("`") % 2:
        place = text.rfind(" ", 0, place)
    if place <= len(indent(text)):
        return None
    return text[:place].rstrip(), text[place + 1 :]


def wrapped(lines):
    """The lines, with comments wrapped. What does not fit a line goes to the next one of its paragraph."""
    result = []
    lines = list(lines)
    is_example = False
    for number, line in enumerate(lines):
        comment = COMMENT.match(line)
        if not comment:
            is_example = False
        elif comment.group(2).startswith("```"):
            is_example = not is_example
        is_prose = comment and not is_example and not comment.group(2).lstrip().startswith("|")
        while is_prose and len(line) > WIDTH:
            marker, text = COMMENT.match(line).groups()
            parts = split(text, WIDTH - len(marker) - 1)
            if not parts:
                break
            hanging = indent(text)
            result.append(f"{marker} {parts[0]}")
            line = f"{marker} {hanging}{parts[1]}"
            following = COMMENT.match(lines[number + 1]) if number + 1 < len(lines) else None
            if following and following.group(1) == marker and following.group(2).strip():
                next_text = following.group(2)
                if not BEGIN.match(next_text) and indent(next_text) == hanging:
                    lines[number + 1] = f"{line} {next_text.strip()}"
                    line = None
                    break
        if line is not None:
            result.append(line)
    return result


def main():
    arguments = sys.argv[1:]
    is_check = "--check" in arguments
    files = [name for name in arguments if name != "--check"]
    if not files:
        files = subprocess.check_output(["git", "ls-files", "*.rs"], text=True).split()
    too_long = 0
    for name in files:
        with open(name, encoding="utf-8") as file:
            before = file.read().split("\n")
        after = wrapped(before)
        if after == before:
            continue
        if is_check:
            for number, line in enumerate(before, 1):
                if len(line) > WIDTH and wrapped([line]) != [line]:
                    print(f"{name}:{number}: {len(line)} characters: {line.strip()[:60]}...")
                    too_long += 1
        else:
            with open(name, "w", encoding="utf-8") as file:
                file.write("\n".join(after))
            print(f"wrapped {name}")
    return 1 if too_long else 0


sys.exit(main())
