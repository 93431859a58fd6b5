"""Replays what pgAdmin sends (pgadmin.sql; its head says how it is written) to the database that libpq's
variables name, as pgAdmin does: psycopg, values in the text. A line a row, or an error in its place."""

import re
import sys

import psycopg


def resolved(cursor, text):
    """The text with {expression} replaced by the oid that it gives."""
    for expression in sorted(set(re.findall(r"\{(.*?)\}(?!\})", text))):
        oid = cursor.execute(f"SELECT ({expression})::oid").fetchone()[0]
        text = text.replace(f"{{{expression}}}", str(oid))
    return text


with open(sys.argv[1], encoding="utf-8") as file:
    blocks = file.read().split("\n\n")
with psycopg.connect("", autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
    cursor = connection.cursor()
    for block in blocks:
        lines = block.strip().split("\n")
        varies = {line[len("-- varies ") :] for line in lines if line.startswith("-- varies ")}
        text = "\n".join(line for line in lines if not line.startswith("--"))
        if not text:
            continue
        name = " ".join(text.split())[:150]
        try:
            cursor.execute(resolved(cursor, text))
        except psycopg.Error as error:
            print(f"{name}: REFUSED {error.sqlstate} {str(error).splitlines()[0]}")
            continue
        found = []
        while True:
            if cursor.description:
                columns = [column.name for column in cursor.description]
                rows = [[v for c, v in zip(columns, row) if c not in varies] for row in cursor.fetchall()]
                found += rows
            if not cursor.nextset():
                break
        print(f"{name}: {len(found)} rows")
        for row in found:
            print(f"{name}: {row!r}")
