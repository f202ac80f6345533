"""urllib: fetch_urllib.py URL [CA]"""

import json
import ssl
import sys
import urllib.request

url, *ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca[0]) if ca else None
with urllib.request.urlopen(url, timeout=30, context=context) as response:
    print(json.dumps({"status": response.status, "body": response.read().decode()}))
