"""Twisted's Agent, ten at once on the reactor of its choice: fetch_twisted.py URL"""

import json
import sys

from twisted.internet import defer, task
from twisted.web.client import Agent, readBody


async def fetch(agent, url):
    response = await agent.request(b"GET", url.encode())
    return response.code, await readBody(response)


async def main(reactor, url):
    agent = Agent(reactor, connectTimeout=30)
    fetches = [defer.Deferred.fromCoroutine(fetch(agent, url)) for _ in range(10)]
    answers = await defer.gatherResults(fetches, consumeErrors=True)
    assert len(set(answers)) == 1
    reactor_name = type(reactor).__name__
    print(json.dumps({"status": answers[0][0], "body": answers[0][1].decode(), "reactor": reactor_name}))


task.react(lambda reactor, *args: defer.Deferred.fromCoroutine(main(reactor, *args)), sys.argv[1:])
