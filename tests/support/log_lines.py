"""Lines of logs, as ``--log`` writes them, for what reads logs. ``time``: seconds since 1970."""

import json

RUN = "20261128T111530-4121"


def line(event, time, **fields):
    """A line of a log, with the fields of every line."""
    head = {
        **{"v": 1, "run": RUN, "by": "patch", "pid": 4121, "program": "pip", "event": event, "time": time},
        **{"thread": "MainThread", "library": "urllib3"},
    }
    return json.dumps(head | fields) + "\n"


def connection(time, host="example.org", **fields):
    """A line of a connection through two hops."""
    first = {"proxy": "socks5h://first:1080", "dial": 0.01, "greeting": 0.02, "login": 0.03, "reply": 0.04}
    second = {"proxy": "socks4a://second:1080", "dial": None, "greeting": None, "login": None, "reply": 0.1}
    return line(
        "connection",
        time,
        **{
            **{"id": f"4121-{time}", "route": "tunnel", "host": host, "port": 443, "name": None},
            **{"reason": None, "chain": "", "hops": [first, second], "ways": 1, "waited": 0.0},
            **{"seconds": 0.2, "result": "ok", "errno": None, "error": None, "client": None},
            **{"local": "127.0.0.1:5", "remote": "127.0.0.1:1080", "end": None, "sent": None},
            "received": None,
        }
        | fields,
    )


def failed(time, **fields):
    return connection(
        time, **{"result": "failed", "errno": "EHOSTUNREACH", "error": "host unreachable"} | fields
    )


def direct(time):
    return connection(time, "10.0.0.7", route="direct", reason="route 10.0.0.0/8 direct", chain=None, hops=[])


def refusal(time):
    return line(
        *("refusal", time),
        **{"host": "224.0.0.1", "port": 5353, "protocol": "udp", "errno": "EPERM", "error": "no multicast"},
    )


def name(time):
    return line(
        *("name", time),
        **{"name": "example.org", "how": "placeholder", "answers": ["198.18.0.1"], "seconds": 0.001},
        **{"result": "ok", "errno": None, "error": None},
    )


def run_line(time):
    return line(
        *("run", time),
        **{"by": "launcher", "version": "0.1.0", "confined": False},
        chains=[{"name": "", "type": "strict", "proxies": ["socks5h://first:1080", "socks4a://second:1080"]}],
    )


def write(path, *lines):
    path.write_text("".join(lines))
    return path
