"""paramiko runs a command; the server speaks first: ssh_exec.py HOST PORT"""

import json
import sys

import paramiko

host, port = sys.argv[1:]
with paramiko.SSHClient() as client:
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        host,
        int(port),
        username="anybody",
        password="secret",
        timeout=30,
        allow_agent=False,
        look_for_keys=False,
    )
    _, stdout, stderr = client.exec_command("echo hi", timeout=30)
    result = {"out": stdout.read().decode(), "status": stdout.channel.recv_exit_status()}
    for file in (stdout, stderr):
        file.close()
print(json.dumps(result))
