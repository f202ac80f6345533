"""dnspython over UDP, the three ways that it has: udp_dns.py HOST PORT NAME"""

import asyncio
import json
import sys

import dns.asyncquery
import dns.message
import dns.query
import dns.resolver

host, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def texts(answer):
    return [record.to_text() for rrset in answer.answer for record in rrset]


got = {"query": texts(dns.query.udp(dns.message.make_query(name, "A"), host, 30, port))}

# Asks for EDNS, which makes the answer long.
long = dns.message.make_query(name, "TXT", use_edns=0, payload=4096)
got["long"] = sum(map(len, texts(dns.query.udp(long, host, 30, port))))

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port, resolver.lifetime = [host], port, 30
got["resolver"] = [record.to_text() for record in resolver.resolve(name, "A")]
try:
    resolver.resolve("missing." + name, "A")
except dns.resolver.NXDOMAIN as err:
    got["missing"] = type(err).__name__

query = dns.message.make_query(name, "A")
got["asyncio"] = texts(asyncio.run(dns.asyncquery.udp(query, host, 30, port)))
print(json.dumps(got))
