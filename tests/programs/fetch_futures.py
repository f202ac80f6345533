"""concurrent.futures, threads and processes: fetch_futures.py URL"""

import concurrent.futures
import json
import multiprocessing
import sys
import urllib.request


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read().decode()


if __name__ == "__main__":
    urls = [sys.argv[1]] * 8
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        by_threads = list(pool.map(fetch, urls))
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        by_processes = list(pool.map(fetch, urls))
    assert len(set(by_threads + by_processes)) == 1
    print(json.dumps({"threads": len(by_threads), "processes": len(by_processes), "body": by_threads[0]}))
