#!/usr/bin/env python3
"""Reads the audit stream on standard input, verifies its chain, prints every denial as one JSON line.

    tail -n +1 -F audit.jsonl | examples/siem_tail.py --state siem.state | your-shipper

Each record says the SHA-256 of the bytes of the line before (`previous`), and its number (`sequence`).
Whoever changes, removes or inserts a line breaks that; then this ends with exit code 1 and says where.
With --state it remembers the last line it has seen: records are printed once, however often it is started,
and a past that was written anew is found, too. A file that begins in the middle of a stream (the one before
was rotated away) is taken from its first line on.

Records of kind `gap` (the proxy could not write for a while) are printed like denials: somebody should know.
"""

import argparse
import hashlib
import json
import os
import sys

ZEROS = "0" * 64
FIELDS = ("sequence", "time", "kind", "session", "principal", "database", "client", "text", "missing",
          "sqlstate", "reason", "lost")


class Broken(Exception):
    """The chain does not hold."""


class Line:
    """One line: its record, its number and its hash."""

    def __init__(self, sequence, digest, record=None):
        self.sequence, self.digest, self.record = sequence, digest, record

    @classmethod
    def of(cls, line):
        try:
            record = json.loads(line)
            return cls(record["sequence"] + 0, hashlib.sha256(line).hexdigest(), record)
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(f"a line is no audit record: {error}") from error

    def follows(self, last):
        """Complains unless it comes right after that line."""
        if self.sequence != last.sequence + 1:
            raise Broken(f"after record {last.sequence} comes record {self.sequence}")
        if self.record.get("previous") != last.digest:
            raise Broken(f"record {last.sequence} is not the one that record {self.sequence} followed")


START = Line(0, ZEROS)


def denied(record):
    kind = record["kind"]
    return kind in ("login-refused", "gap") or kind == "decision" and record.get("decision") == "deny"


def load(path):
    if path is None or not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as file:
        sequence, digest = file.read().split()
    return Line(int(sequence), digest)


def save(path, line):
    if path is not None:
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(f"{line.sequence} {line.digest}\n")
        os.replace(path + ".new", path)


def read(stream, state):
    """Verifies to the end of the stream. A line without its newline is still being written."""
    seen, last = load(state), None
    for text in stream:
        if not text.endswith(b"\n"):
            break
        line = Line.of(text[:-1])
        if last is None and line.sequence == 1:
            last = START
        elif last is None and seen and line.sequence > seen.sequence:
            last = seen
        if last is not None:
            line.follows(last)
        last = line
        if seen and line.sequence == seen.sequence and line.digest != seen.digest:
            raise Broken(f"record {seen.sequence} is not the one that was seen before")
        if seen and line.sequence <= seen.sequence:
            continue
        if denied(line.record):
            event = {field: line.record[field] for field in FIELDS if field in line.record}
            print(json.dumps(event, ensure_ascii=False), flush=True)
        save(state, line)
    if seen and last and last.sequence < seen.sequence:
        raise Broken(f"it ends with record {last.sequence}, and {seen.sequence} were seen before")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", metavar="FILE", help="where to remember the last line")
    try:
        read(sys.stdin.buffer, parser.parse_args().state)
    except Broken as error:
        print(f"siem_tail: the audit stream is broken: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
