#!/usr/bin/env python3
"""Approves waiting requests that match a rule, and leaves the others to people.

    examples/approver.py --database shop --at-most 3600 \\
        --privilege 'SELECT( \\([a-z_, ]+\\))? ON public\\.(orders|customers)' --ticket 'INC-[0-9]+'

A request is approved when its database is one of those, it lasts no longer than so many seconds, each of
its privileges matches one of the patterns as a whole, and so does its ticket where a pattern is given.

It speaks to the proxy's Unix socket (DAYPASS_URL=unix:PATH, else /run/daypass/daypass.sock). With DAYPASS_TOKEN it
acts as that token's principal, who has to be among [approval] approvers; without it as an operator, which
is more than it needs. Nobody approves what they ask for themselves.
"""

import argparse
import http.client
import json
import os
import re
import socket
import sys
import time

UNITS = {"s": 1, "m": 60, "h": 3600, "day": 86400, "days": 86400}


class Proxy(http.client.HTTPConnection):
    """The HTTP API over its Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, path):
        token = os.environ.get("DAYPASS_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self.request(method, path, headers=headers)
            response = self.getresponse()
            answer = json.load(response)
        finally:
            self.close()
        if response.status != 200:
            raise RuntimeError(answer["error"]["message"])
        return answer


def seconds(duration):
    """What the API calls 1h30m or 1day."""
    parts = re.findall(r"([0-9]+)([a-z]+)", duration)
    if "".join(number + unit for number, unit in parts) != duration or not parts:
        raise ValueError(f"{duration!r} is no duration")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def why_not(request, rule):
    """What speaks against approving it; None when nothing does. In doubt, something does."""
    if request["database"] not in rule.database:
        return f"database {request['database']}"
    try:
        if seconds(request["duration"]) > rule.at_most:
            return f"it would last {request['duration']}"
    except (KeyError, ValueError) as error:
        return f"its duration: {error}"
    for privilege in request["privileges"]:
        if not any(re.fullmatch(pattern, privilege) for pattern in rule.privilege):
            return f"privilege {privilege}"
    if rule.ticket and not re.fullmatch(rule.ticket, request.get("ticket", "")):
        return "its ticket"
    return None


def look(proxy, rule, left):
    """Approves what may be approved; says of each other request once why not."""
    for request in proxy.ask("GET", "/v1/requests")["items"]:
        name = f"{request['id']} of {request['principal']}"
        reason = why_not(request, rule)
        if reason is None:
            try:
                grant = proxy.ask("POST", f"/v1/requests/{request['id']}/approve")
                print(f"{name}: approved, grant {grant['id']}", flush=True)
                continue
            except RuntimeError as error:  # cancelled in between, or its own
                reason = str(error)
        if request["id"] not in left:
            left.add(request["id"])
            print(f"{name}: left to people: {reason}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", action="append", required=True)
    parser.add_argument("--privilege", action="append", required=True, metavar="PATTERN")
    parser.add_argument("--at-most", type=int, required=True, metavar="SECONDS")
    parser.add_argument("--ticket", metavar="PATTERN")
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS", help="how often to look")
    parser.add_argument("--once", action="store_true", help="look once, and end")
    rule = parser.parse_args()
    url = os.environ.get("DAYPASS_URL") or "unix:/run/daypass/daypass.sock"
    if not url.startswith("unix:"):
        parser.error("DAYPASS_URL has to be unix:PATH")
    proxy, left = Proxy(re.sub("^unix:(//)?", "", url)), set()
    while True:
        try:
            look(proxy, rule, left)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            print(f"approver: {error}", file=sys.stderr, flush=True)
            if rule.once:
                return 1
        if rule.once:
            return 0
        time.sleep(rule.every)


if __name__ == "__main__":
    sys.exit(main())
