"""pycurl: fetch_pycurl.py HOW URL [CA]

HOW: easy; reuse (two transfers of one handle, with reset() between them); multi (ten at once); tornado.
"""

import io
import json
import sys

import pycurl

how, url, ca = (*sys.argv[1:], None)[:3]


def prepared(curl, body):
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEFUNCTION, body.write)
    curl.setopt(pycurl.TIMEOUT, 20)
    curl.setopt(pycurl.FOLLOWLOCATION, True)
    if ca:
        curl.setopt(pycurl.CAINFO, ca)
    return curl


def easy(count=1):
    curl = pycurl.Curl()
    for _ in range(count):
        body = io.BytesIO()
        prepared(curl, body).perform()
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        curl.reset()
    curl.close()
    return {"status": status, "body": body.getvalue().decode()}


def multi():
    multi = pycurl.CurlMulti()
    bodies = [io.BytesIO() for _ in range(10)]
    handles = [prepared(pycurl.Curl(), body) for body in bodies]
    for handle in handles:
        multi.add_handle(handle)
    left = len(handles)
    while left:
        _, left = multi.perform()
        multi.select(1.0)
    _, good, bad = multi.info_read()
    assert len(good) + len(bad) == len(handles)
    if bad:
        return {"error": bad[0][1], "text": bad[0][2]}
    return {"status": handles[0].getinfo(pycurl.RESPONSE_CODE), "body": bodies[-1].getvalue().decode()}


def tornado():
    from tornado import curl_httpclient, ioloop

    async def fetch():
        client = curl_httpclient.CurlAsyncHTTPClient(force_instance=True)
        answer = await client.fetch(url, ca_certs=ca, request_timeout=20)
        return {"status": answer.code, "body": answer.body.decode()}

    return ioloop.IOLoop.current().run_sync(fetch)


try:
    result = {"easy": easy, "reuse": lambda: easy(2), "multi": multi, "tornado": tornado}[how]()
except pycurl.error as err:
    result = {"error": err.args[0], "text": err.args[1]}
print(json.dumps(result))
