"""What dnspython says of names and addresses: names_dnspython.py NAME ADDRESS HOW

HOW: blocking, asyncio or trio. Prints how many seconds it took, too.
"""

import asyncio
import json
import sys
import time

import dns.asyncresolver
import dns.resolver
import dns.reversename
import trio

name, address, how = sys.argv[1:]
QUESTIONS = {
    "A": (name, "A"),
    "AAAA": (name, "AAAA"),
    "PTR": (dns.reversename.from_address(address), "PTR"),
    "MX": (name, "MX"),
    "missing": (f"missing-{name}", "A"),
}


def told(answer):
    return sorted(record.to_text() for record in answer)


def blocking():
    result = {}
    for key, question in QUESTIONS.items():
        try:
            result[key] = told(dns.resolver.resolve(*question))
        except dns.exception.DNSException as err:
            result[key] = [type(err).__name__, str(err)]
    return result


async def waiting():
    result = {}
    for key, question in QUESTIONS.items():
        try:
            result[key] = told(await dns.asyncresolver.resolve(*question))
        except dns.exception.DNSException as err:
            result[key] = [type(err).__name__, str(err)]
    return result


started = time.monotonic()
found = {"blocking": blocking, "asyncio": lambda: asyncio.run(waiting()), "trio": lambda: trio.run(waiting)}[
    how
]()
print(json.dumps(found | {"took": time.monotonic() - started}))
