"""httpx, synchronous: fetch_httpx.py URL [CA]"""

import json
import ssl
import sys

import httpx

url, *ca = sys.argv[1:]
with httpx.Client(verify=ssl.create_default_context(cafile=ca[0]) if ca else True, timeout=30) as client:
    response = client.get(url)
    print(json.dumps({"status": response.status_code, "body": response.text}))
