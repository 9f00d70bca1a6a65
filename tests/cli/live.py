"""An application that has the project's database open, in a process of its own and with an SQLite of its own.

    live.py writer|visitor|reader DATABASE NUMBER TIMEOUT

A writer commits one transaction after the other, a visitor opens and closes the database for each, a reader looks whether
what it sees belongs together. Being locked out is part of life; anything else ends the process. A line on stdin is
answered by a line of JSON, once the next transaction has gone well. The end of stdin is answered at once, and the end.
"""

import json
import os
import select
import sqlite3
import sys
import time

SQLITE_BUSY = 5
role, path, me, timeout = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])


def connect():
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    connection.execute("PRAGMA synchronous = off")
    return connection


def write(connection, number):
    """Sets all rows to one generation that nobody else ever writes, in the epoch that the database is in."""
    connection.execute("BEGIN IMMEDIATE")
    (epoch,) = connection.execute("SELECT epoch FROM state").fetchone()
    for table in ["left_hand", "right_hand"]:
        connection.execute(f"UPDATE {table} SET generation = ?, epoch = ?", (f"{me}/{number}", epoch))
    connection.execute("INSERT INTO sequence VALUES (?, ?)", (me, number))
    connection.execute("COMMIT")
    return epoch


def read(connection, _):
    """Makes sure that all that one transaction sees is of one state."""
    connection.execute("BEGIN")
    (epoch,) = connection.execute("SELECT epoch FROM state").fetchone()
    both = "SELECT generation, epoch FROM left_hand UNION SELECT generation, epoch FROM right_hand"
    found = connection.execute(both).fetchall()
    late = "SELECT count(*) FROM sqlite_schema WHERE name = 'made_after_the_backup'"
    (made_after,) = connection.execute(late).fetchone()
    connection.execute("COMMIT")
    assert len(found) == 1 and found[0][1] == epoch and made_after == (epoch > 0), (epoch, found, made_after)
    return epoch


transaction = read if role == "reader" else write
connection = None
epoch, number, busy = None, 0, 0


def answer():
    print(json.dumps({"epoch": epoch, "number": number, "busy": busy}), flush=True)


asked = False
while True:
    if not asked and select.select([0], [], [], 0)[0]:
        if not os.read(0, 1):
            break
        asked = True
    try:
        connection = connection or connect()
        epoch = transaction(connection, number + 1)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != SQLITE_BUSY:
            raise
        busy += 1
        if connection and connection.in_transaction:
            connection.execute("ROLLBACK")
    else:
        number += 1
        if asked:
            answer()
            asked = False
    if role == "visitor" and connection:
        connection.close()
        connection = None
    time.sleep(0.03 if role == "visitor" else 0.001)
if connection:
    connection.close()
answer()
