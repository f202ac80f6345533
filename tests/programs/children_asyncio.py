"""Children of asyncio's own, of other kinds: children_asyncio.py URL

A Python that fetches URL, with the usual environment, an empty one, and -I; then what a child and its parent
tell each other.
"""

import asyncio
import json
import signal
import sys

FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).status)"


async def output(*words, **options):
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe, **options)
    out, err = await child.communicate(b"said to it")
    return [child.returncode, (out or err).decode().strip().splitlines()[-1:]]


async def main(url):
    python = sys.executable
    result = {
        "usual": await output(python, "-c", FETCH, url),
        "empty": await output(python, "-c", FETCH, url, env={}),
        "isolated": await output(python, "-I", "-c", FETCH, url),
        "cat": await output("cat"),
    }
    shell = await asyncio.create_subprocess_shell("echo $0; exit 3", stdout=asyncio.subprocess.PIPE)
    result["shell"] = [(await shell.communicate())[0].decode(), shell.returncode]
    sleeper = await asyncio.create_subprocess_exec("sleep", "60")
    sleeper.send_signal(signal.SIGTERM)
    result["signal"] = await sleeper.wait()
    try:
        await asyncio.create_subprocess_exec("/nonexistent")
    except OSError as err:
        result["missing"] = type(err).__name__
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
