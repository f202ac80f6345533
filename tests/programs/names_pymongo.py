"""The servers of a mongodb+srv URI, as pymongo finds them: names_pymongo.py NAME"""

import json
import sys
import time

from pymongo import errors, uri_parser

started = time.monotonic()
try:
    result = {"servers": sorted(map(list, uri_parser.parse_uri(f"mongodb+srv://{sys.argv[1]}/")["nodelist"]))}
except errors.PyMongoError as err:
    result = {"error": type(err).__name__, "text": str(err)}
print(json.dumps(result | {"took": time.monotonic() - started}))
