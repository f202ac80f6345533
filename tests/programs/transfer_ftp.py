"""Up and down with ftplib: transfer_ftp.py HOST PORT active|passive [CA]."""

import ftplib
import hashlib
import io
import json
import os
import ssl
import sys

PATIENCE = 30

host, port, mode, *ca = sys.argv[1:]
if ca:
    ftp = ftplib.FTP_TLS(context=ssl.create_default_context(cafile=ca[0]), timeout=PATIENCE)
else:
    ftp = ftplib.FTP(timeout=PATIENCE)
ftp.connect(host, int(port))
ftp.login("alice", "secret")
if ca:
    ftp.prot_p()
ftp.set_pasv(mode == "passive")

sent = os.urandom(300_000)
name = f"{mode}.bin"
ftp.storbinary(f"STOR {name}", io.BytesIO(sent))
got = io.BytesIO()
ftp.retrbinary(f"RETR {name}", got.write)
names = ftp.nlst()
peer = ftp.sock.getpeername()
ftp.quit()

same = hashlib.sha256(got.getvalue()).digest() == hashlib.sha256(sent).digest()
print(json.dumps({"same": same, "listed": name in names, "peer": peer[:2]}))
