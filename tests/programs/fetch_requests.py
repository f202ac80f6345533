"""requests, three times over a kept connection: fetch_requests.py URL [CA]"""

import json
import sys

import requests

url, *ca = sys.argv[1:]
with requests.Session() as session:
    # Not session.verify: REQUESTS_CA_BUNDLE would win against it.
    responses = [session.get(url, timeout=30, verify=ca[0] if ca else True) for _ in range(3)]
    assert len({response.text for response in responses}) == 1
    print(json.dumps({"status": responses[-1].status_code, "body": responses[-1].text}))
