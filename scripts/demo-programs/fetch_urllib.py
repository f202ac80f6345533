"""Print a web page, with urllib."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1]) as page:
    print(page.read().decode(), end="")
