"""A download and its SHA-256: download.py URL"""

import hashlib
import json
import sys
import urllib.request

digest = hashlib.sha256()
size = 0
with urllib.request.urlopen(sys.argv[1], timeout=50) as response:
    while chunk := response.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
print(json.dumps({"bytes": size, "sha256": digest.hexdigest()}))
