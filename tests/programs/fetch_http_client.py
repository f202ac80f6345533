"""http.client: fetch_http_client.py HOST PORT [CA]"""

import http.client
import json
import ssl
import sys

host, port, *ca = sys.argv[1:]
if ca:
    context = ssl.create_default_context(cafile=ca[0])
    connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
else:
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
connection.request("GET", "/")
response = connection.getresponse()
print(json.dumps({"status": response.status, "body": response.read().decode()}))
connection.close()
