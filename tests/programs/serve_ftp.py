"""An FTP server for alice, whose password is "secret": serve_ftp.py HOST PORT DIRECTORY [CERTIFICATE]."""

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

host, port, directory, *certificate = sys.argv[1:]
logging.basicConfig(level=logging.WARNING)
handler = TLS_FTPHandler if certificate else FTPHandler
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user("alice", "secret", directory, perm="elradfmw")
if certificate:
    handler.certfile = certificate[0]
    handler.tls_control_required = handler.tls_data_required = True
FTPServer((host, int(port)), handler).serve_forever()
