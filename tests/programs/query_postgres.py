"""Queries by psycopg and psycopg2: query_postgres.py LIBRARY CONNINFO [MEGABYTES]

LIBRARY: psycopg, psycopg:async, psycopg2, psycopg2:async.
"""

import asyncio
import json
import os
import select
import sys
import threading
import time

how, conninfo = sys.argv[1:3]
size = int(float(sys.argv[3]) * 1_000_000) if len(sys.argv) > 3 else 1000
QUERY = "select repeat('x', %s), current_user, (select ssl from pg_stat_ssl where pid = pg_backend_pid())"


def told(row):
    return {"bytes": len(row[0]), "user": row[1], "tls": row[2]}


def cancelled(connection, cursor, error):
    """What becomes of a long query that is cancelled: a second connection says so."""
    timer = threading.Timer(0.2, connection.cancel)
    timer.start()
    try:
        cursor.execute("select pg_sleep(30)")
    except error as err:
        return type(err).__name__
    finally:
        timer.join()


def psycopg():
    import psycopg

    with psycopg.connect(conninfo) as connection, connection.cursor() as cursor:
        result = told(cursor.execute(QUERY, [size]).fetchone())
        result |= {"host": connection.info.host, "port": connection.info.port}
        with cursor.copy("copy (select generate_series(1, 100000)) to stdout") as copy:
            result["copied"] = sum(1 for _ in copy.rows())
        return result | {"cancelled": cancelled(connection, cursor, psycopg.errors.QueryCanceled)}


async def waiting():
    import psycopg

    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    try:
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            result = told(await (await connection.execute(QUERY, [size])).fetchone())
            await connection.execute("select pg_sleep(0.3)")
            assert ticks
            return result
    finally:
        ticking.cancel()


def psycopg2():
    import psycopg2

    connection = psycopg2.connect(conninfo)
    with connection, connection.cursor() as cursor:
        cursor.execute(QUERY, [size])
        result = told(cursor.fetchone())
        result |= {"host": connection.info.host, "port": connection.info.port}
        result["cancelled"] = cancelled(connection, cursor, psycopg2.extensions.QueryCanceledError)
    connection.close()
    return result


def polling():
    import psycopg2
    from psycopg2 import extensions

    connection = psycopg2.connect(conninfo, async_=True)

    def wait():
        while (state := connection.poll()) != extensions.POLL_OK:
            select.select(
                *([connection], [], []) if state == extensions.POLL_READ else ([], [connection], [])
            )

    wait()
    cursor = connection.cursor()
    cursor.execute(QUERY, [size])
    wait()
    result = told(cursor.fetchone())
    connection.close()
    return result


started = time.monotonic()
run = {"psycopg": psycopg, "psycopg:async": lambda: asyncio.run(waiting())}
run |= {"psycopg2": psycopg2, "psycopg2:async": polling}
try:
    result = run[how]()
except Exception as err:
    result = {"error": type(err).__name__, "text": str(err)}
threads = len(os.listdir("/proc/self/task"))
print(json.dumps(result | {"took": time.monotonic() - started, "threads": threads}))
