"""smtplib hands in a mail; the server speaks first: send_mail.py HOST PORT"""

import json
import smtplib
import sys

host, port = sys.argv[1:]
with smtplib.SMTP(host, int(port), local_hostname="localhost", timeout=30) as smtp:
    refused = smtp.sendmail("me@example.org", ["you@example.org"], "Subject: hello\n\nhow are you\n")
    print(json.dumps({"refused": refused, "noop": smtp.noop()[0]}))
