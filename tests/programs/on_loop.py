"""Another of our programs on an event loop that is not asyncio's: on_loop.py LOOP[:HOW] PROGRAM [ARG]...

LOOP is a module. HOW is what the loop is chosen by: run, install, policy, factory, or, by default, run.
"""

import asyncio
import importlib
import os
import runpy
import sys

name, _, how = sys.argv[1].partition(":")
module = importlib.import_module(name)


def run(main):
    if how == "install":
        module.install()
        return asyncio_run(main)
    if how == "policy":
        asyncio.set_event_loop_policy(module.EventLoopPolicy())
        return asyncio_run(main)
    if how == "factory" or not hasattr(module, "run"):
        with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
            return runner.run(main)
    return module.run(main)


asyncio_run, asyncio.run = asyncio.run, run
del sys.argv[:2]
sys.argv[0] = os.path.join(os.path.dirname(__file__), sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
