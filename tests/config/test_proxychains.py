import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.partial_settings import PartialSettings
from pywrap.config.proxychains import DIRECTIVES
from pywrap.config.proxychains import parse as parse_with_origins
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule
from pywrap.errors import ConfigError
from tests.support.debian_files import shipped
from tests.support.rules import direct
from tests.support.run import ROOT

# The lines that Debian's proxychains4 4.16-2 has active in /etc/proxychains4.conf; upstream's 4.17 has the
# same. The blanks are as they are there.
DEBIAN = b"""\
# proxychains.conf  VER 4.x
#
#        HTTP, SOCKS4a, SOCKS5 tunneling proxifier with DNS.
strict_chain
#quiet_mode
proxy_dns
remote_dns_subnet 224
# Some timeouts in milliseconds
tcp_read_time_out 15000
tcp_connect_time_out 8000
# localnet 127.0.0.0/255.0.0.0
#            socks5\t192.168.67.78\t1080\tlamer\tsecret
#\t \tsocks4\t192.168.1.49\t1080
[ProxyList]
# add proxy here ...
# defaults set to "tor"
socks4 \t127.0.0.1 9050

"""


def parse(data: bytes, source: str) -> PartialSettings:
    """What a file says, without where."""
    return parse_with_origins(data, source).replace(origins={})


def proxies(*lines: bytes) -> tuple[Proxy, ...]:
    chain = parse(b"[ProxyList]\n" + b"\n".join(lines), "file").proxies
    assert chain is not None
    return chain


def test_file_of_debian_loads():
    assert parse(DEBIAN, "file") == PartialSettings(
        proxies=(Proxy("socks4a", "127.0.0.1", 9050),),
        chain_type="strict",
        chain_length=0,
        dns="remote",
        placeholders="224.128.0.0/9",
        connect_timeout=8.0,
        read_timeout=15.0,
    )


def test_file_that_debian_ships_is_that_one():
    assert parse(shipped("proxychains4", "/etc/proxychains4.conf"), "file") == parse(DEBIAN, "file")


def test_examples_of_the_file_that_debian_ships_load():
    text = shipped("proxychains4", "/etc/proxychains4.conf").decode()
    names = [name for name in DIRECTIVES if f"\n#{name}" in text or f"\n# {name}" in text]
    assert {"dynamic_chain", "chain_len", "dnat", "localnet", "proxy_dns_daemon"} <= set(names)
    for line in text.splitlines():
        example = line.lstrip("#").strip()
        if line.startswith("##"):
            continue
        if line.startswith("#") and example.partition(" ")[0] in names:
            parse(example.encode(), "file")
        elif line.startswith("#") and example[:5].strip() in ("http", "sock"):
            proxies(example.encode())


def test_empty_file_says_nothing():
    assert parse(b"", "file") == PartialSettings()
    assert parse(b"# nothing\n\n[ProxyList]\n", "file") == PartialSettings()


@pytest.mark.parametrize(
    "line, partial",
    [
        (b"strict_chain", PartialSettings(chain_type="strict", chain_length=0)),
        (b"dynamic_chain", PartialSettings(chain_type="dynamic", chain_length=0)),
        (b"random_chain", PartialSettings(chain_type="random", chain_length=1)),
        (b"round_robin_chain", PartialSettings(chain_type="round_robin", chain_length=1)),
        (b"random_chain\nchain_len = 2", PartialSettings(chain_type="random", chain_length=2)),
        (b"chain_len=3\nround_robin_chain", PartialSettings(chain_type="round_robin", chain_length=3)),
        (b"random_chain\nchain_len 4 # of them", PartialSettings(chain_type="random", chain_length=4)),
        (b"proxy_dns_old", PartialSettings(dns="remote")),
        (b"proxy_dns_daemon 127.0.0.1:1053", PartialSettings(dns="remote")),
        (
            b"dnat 1.1.1.1:1234  1.1.1.2:443",
            PartialSettings(rewrites=(Rewrite("1.1.1.1", 1234, "1.1.1.2", 443),)),
        ),
        (b"dnat 1.1.1.1  1.1.1.2 # always", PartialSettings(rewrites=(Rewrite("1.1.1.1", 0, "1.1.1.2", 0),))),
        (b"dns tor", PartialSettings(dns="tor")),
        (b"dns tcp://192.0.2.53", PartialSettings(dns="tcp://192.0.2.53:53")),
        (b"dns tcp://[2001:DB8::53]:5353", PartialSettings(dns="tcp://[2001:db8::53]:5353")),
        (b"dns tcp://NS.example", PartialSettings(dns="tcp://ns.example:53")),
        (b"pipeline auto", PartialSettings(pipeline="auto")),
        (b"fast_open on", PartialSettings(fast_open=True)),
        (b"isolate_streams off", PartialSettings(isolate_streams=False)),
        (b"bind_peer any", PartialSettings(bind_peer="any")),
        (b"verbosity 2", PartialSettings(verbosity=2)),
        (
            b"route tcp *.corp,10.0.0.0/8:80-90 block",
            PartialSettings(
                rules=(
                    Rule("", "*.corp", 0, 0, "tcp", "block"),
                    Rule("10.0.0.0/8", "", 80, 90, "tcp", "block"),
                )
            ),
        ),
        (
            b"direct a\nroute * proxy\nlocalnet 10.0.0.0/8",
            PartialSettings(rules=(direct(name="a"), Rule(), direct("10.0.0.0/8"))),
        ),
        (b"proxy_dns", PartialSettings(dns="remote")),
        (b"dns remote", PartialSettings(dns="remote")),
        (b"dns local", PartialSettings(dns="local")),
        (b"quiet_mode", PartialSettings(verbosity=-1)),
        (b"tcp_connect_time_out 8000", PartialSettings(connect_timeout=8.0)),
        (b"tcp_read_time_out 1500", PartialSettings(read_timeout=1.5)),
        (b"remote_dns_subnet 0", PartialSettings(placeholders="0.128.0.0/9")),
        (b"remote_dns_subnet 255", PartialSettings(placeholders="255.128.0.0/9")),
        (b"placeholders 10.9.8.7/255.255.0.0", PartialSettings(placeholders="10.9.0.0/16")),
        (
            b"localnet 192.168.1.0:80/255.255.255.0",
            PartialSettings(rules=(direct("192.168.1.0/24", port=80),)),
        ),
        (b"localnet [fe80::]:80/10", PartialSettings(rules=(direct("fe80::/10", port=80),))),
        (
            b"direct fd00::/8,*.corp:443",
            PartialSettings(rules=(direct("fd00::/8"), direct(name="*.corp", port=443))),
        ),
        (b"loopback proxy", PartialSettings(loopback="proxy")),
        (b"udp block", PartialSettings(udp="block")),
        (b"listen bind", PartialSettings(listen="bind")),
        (b"timeout 2.5", PartialSettings(timeout=2.5)),
    ],
)
@pytest.mark.parametrize(
    "form", [b"%s", b"%s\n", b"\t %s \t\r\n", b"%s # a comment", b"%s #", b"\xef\xbb\xbf%s"]
)
def test_directive(line, partial, form):
    assert parse(form % line, "file") == partial


@pytest.mark.parametrize(
    "line, proxy",
    [
        (b"socks4 127.0.0.1 9050", Proxy("socks4a", "127.0.0.1", 9050)),
        (b"socks4 127.0.0.1 9050 user", Proxy("socks4a", "127.0.0.1", 9050, b"user")),
        (b"socks4a h 1080", Proxy("socks4a", "h", 1080)),
        (b"socks5 h 1080", Proxy("socks5", "h", 1080)),
        (b"socks5h h 1080", Proxy("socks5h", "h", 1080)),
        (b"socks5 h 1080 user", Proxy("socks5", "h", 1080, b"user")),
        (b"\tsocks5\tH.Example  1080\t user\tpass \r", Proxy("socks5", "h.example", 1080, b"user", b"pass")),
        (b"socks5 ::1 1080", Proxy("socks5", "::1", 1080)),
        (b"socks5 [::1] 1080", Proxy("socks5", "::1", 1080)),
        # As it stands: no percent-decoding, a # is a #, blanks of Unicode are no blanks, any byte is a byte.
        (b"socks5 h 1 us#er %41#", Proxy("socks5", "h", 1, b"us#er", b"%41#")),
        (b"socks5 h 1 user p\xc2\xa0\xff", Proxy("socks5", "h", 1, b"user", b"p\xc2\xa0\xff")),
        (b"socks5 b\xc3\xbccher 1", Proxy("socks5", "xn--bcher-kva", 1)),
        (b"http h 8080", Proxy("http", "h", 8080)),
        (b"http h 8080 user pass", Proxy("http", "h", 8080, b"user", b"pass")),
        (b"http://user:pass@h", Proxy("http", "h", 1080, b"user", b"pass")),
        (b"raw h 1", Proxy("raw", "h", 1)),
        (b"socks5://user:%41@h:9", Proxy("socks5", "h", 9, b"user", b"A")),
        (b"socks4://user@h", Proxy("socks4a", "h", 1080, b"user")),
        (b"socks://h", Proxy("socks5h", "h", 1080)),
    ],
)
def test_proxy_line(line, proxy):
    assert proxies(line) == (proxy,)


@pytest.mark.parametrize(
    "line, proxy, warning",
    [
        (
            b"socks5 h 1 # home",
            Proxy("socks5", "h", 1),
            "a comment after a proxy, which proxychains would send as its username",
        ),
        (
            b"socks4 h 1 #home",
            Proxy("socks4a", "h", 1),
            "a comment after a proxy, which proxychains would send as its username",
        ),
        (
            b"http h 1 # of the office",
            Proxy("http", "h", 1),
            "a comment after a proxy, which proxychains would send as its username",
        ),
        (
            b"socks5 h 1 me # x",
            Proxy("socks5", "h", 1, b"me"),
            "a comment after a proxy, which proxychains would send as its password",
        ),
        (b"socks5 h 1 me #pw", Proxy("socks5", "h", 1, b"me", b"#pw"), ""),
        (b"socks5 h 1 me #pw # x", Proxy("socks5", "h", 1, b"me", b"#pw"), ""),
        (b"socks5 h 1 me pw # x", Proxy("socks5", "h", 1, b"me", b"pw"), ""),
        (
            b"socks5 h 1 me pw SECRET",
            Proxy("socks5", "h", 1, b"me", b"pw"),
            "text after the password of a proxy, which is left out, as by proxychains",
        ),
        (
            b"socks4 h 1 me SECRET",
            Proxy("socks4a", "h", 1, b"me"),
            "SOCKS4 has no passwords, so this one is left out, as by proxychains",
        ),
        (
            b"socks4ip h 1 me SECRET",
            Proxy("socks4", "h", 1, b"me"),
            "SOCKS4 has no passwords, so this one is left out, as by proxychains",
        ),
        (
            b"raw h 1 me SECRET",
            Proxy("raw", "h", 1),
            "a raw hop is asked for nothing, so its username is left out, as by proxychains",
        ),
        (b"socks5://h:1 # home", Proxy("socks5", "h", 1), ""),
    ],
)
def test_what_stands_behind_a_proxy(line, proxy, warning):
    said = parse(b"# one\n[ProxyList]\n" + line, "f")
    assert said.proxies == (proxy,)
    assert said.warnings == ((f"f:3: {warning}",) if warning else ())


@pytest.mark.parametrize(
    "text, partial",
    [
        (b"random_chain\ndynamic_chain", PartialSettings(chain_type="dynamic", chain_length=0)),
        (b"dynamic_chain\nrandom_chain", PartialSettings(chain_type="random", chain_length=1)),
        (b"chain_len = 2\nstrict_chain", PartialSettings(chain_type="strict", chain_length=0)),
        (b"dynamic_chain\nchain_len = 2", PartialSettings(chain_type="dynamic", chain_length=0)),
        (b"chain_len = 2\nchain_len = 3\nrandom_chain", PartialSettings(chain_type="random", chain_length=3)),
        (b"tcp_read_time_out 5\ntcp_read_time_out 15000", PartialSettings(read_timeout=15.0)),
        (b"tcp_connect_time_out 5\ntcp_connect_time_out 1000", PartialSettings(connect_timeout=1.0)),
        (b"remote_dns_subnet 224\nremote_dns_subnet 10", PartialSettings(placeholders="10.128.0.0/9")),
        (
            b"[ProxyList a]\nrandom_chain\nchain_len = 1\nstrict_chain\nraw h 1",
            PartialSettings(chains=(Chain((Proxy("raw", "h", 1),), "a", "strict", 0),)),
        ),
    ],
)
def test_the_last_counts_where_proxychains_documents_it(text, partial):
    assert parse(text, "f") == partial


def test_the_line_that_counts_is_the_one_that_is_remembered():
    text = b"random_chain\nchain_len = 2\nround_robin_chain\nrandom_chain\nstrict_chain"
    assert parse_with_origins(text, "f").origins == {"chain_type": "f:5", "chain_length": "f:5"}


def test_order_of_proxies_is_kept():
    assert [proxy.host for proxy in proxies(b"socks5 b 1", b"# c", b"", b"socks4 a 1")] == ["b", "a"]


def test_repeating_oneself_is_no_contradiction():
    assert parse(b"proxy_dns\ndns remote\nproxy_dns\nquiet_mode\nquiet_mode", "file").dns == "remote"


PROXY_FORM = "a proxy is written `socks5 HOST PORT [USER [PASSWORD]]` or `socks5://USER:PASSWORD@HOST:PORT`"
SCHEMES_HINT = "socks4, socks4a, socks5, socks5h, http, raw"
TYPES = f"{SCHEMES_HINT}, socks4ip"
NAME_HINT = "letters, digits, `-`, `_` and `.`, and none of proxy, direct, block"
DIRECT_HINT = "examples: 10.0.0.0/8, 10.0.0.0/8:443, fd00::/8, [fd00::/8]:443, host.example, *.corp.example"


@pytest.mark.parametrize(
    "text, message, hint",
    [
        # Directives that other versions or other people's typing have.
        (b"strict_chian", "1: unknown directive: `strict_chian`", "did you mean `strict_chain`?"),
        (b"\n\nproxydns", "3: unknown directive: `proxydns`", "did you mean `proxy_dns`?"),
        (b"Proxy_DNS", "1: unknown directive: `Proxy_DNS`", "did you mean `proxy_dns`?"),
        (b"timeout=5", "1: `timeout` with a `=`", "`timeout VALUE`"),
        (b"quiet_mode=on", "1: `quiet_mode` with a `=`", ""),
        (b"default_pass=SECRET", "1: unknown directive: `default_pass`", ""),
        (b"dynamic_chian", "1: unknown directive: `dynamic_chian`", "did you mean `dynamic_chain`?"),
        (b"colour blue", "1: unknown directive: `colour`", ""),
        (b"user:SECRET@h:1", "1: unknown directive: `user:***@h:1`", ""),
        (b"chain_len", "1: `chain_len` takes one value, not 0", ""),
        (b"chain_len = two", "1: `chain_len` takes a positive number of proxies: `two`", ""),
        (b"chain_len=0", "1: `chain_len` takes a positive number of proxies: `0`", ""),
        (b"proxy_dns_daemon 127.0.0.1:x", "1: `proxy_dns_daemon` takes ADDRESS:PORT: `127.0.0.1:x`", ""),
        (b"proxy_dns_daemon host", "1: `proxy_dns_daemon` takes ADDRESS:PORT: `host`", ""),
        (b"dnat 1.1.1.1", "1: `dnat` takes two addresses, not 1", "`dnat ADDRESS[:PORT] NEW[:PORT]`"),
        (b"dnat a 1.1.1.1", "1: not an address with a port or without: `a`", ""),
        (
            b"route 10.0.0.0/8",
            "1: a route of 1 word: `10.0.0.0/8`",
            "it is written `route [tcp|udp] DESTINATION CHAIN|proxy|direct|block`",
        ),
        (b"route sctp *:25 block", "1: unknown protocol: `sctp`", "known protocols: tcp, udp"),
        (b"direct *", "1: no proxy for anything: `*`", "if so, write `route * direct`"),
        (
            b"dns tcp://:53",
            "1: not a name server: `tcp://:53` (not a host name: ``)",
            "it is written tcp://HOST[:PORT]",
        ),
        (
            b"dns tcp://192.0.2.53:0",
            "1: not a name server: `tcp://192.0.2.53:0` (not a port: `0`)",
            "it is written tcp://HOST[:PORT]",
        ),
        (b"pipeline yes", "1: unknown value of `pipeline`: `yes`", "known values: off, on, auto"),
        (b"fast_open 1", "1: unknown value of `fast_open`: `1`", "known values: on, off"),
        (b"verbosity 3", "1: unknown value of `verbosity`: `3`", "known values: -1, 0, 1, 2"),
        # Their values.
        (b"quiet_mode on", "1: `quiet_mode` takes no value, not 1", ""),
        (b"dns", "1: `dns` takes one value, not 0", ""),
        (b"dns # local", "1: `dns` takes one value, not 0", ""),
        (b"direct 10.0.0.0/8, *.corp", "1: `direct` takes one value, not 2", ""),
        (
            b"dns remot",
            "1: unknown value of `dns`: `remot`",
            "did you mean `remote`? Known values: remote, tor, local, tcp://HOST[:PORT]",
        ),
        (b"loopback yes", "1: unknown value of `loopback`: `yes`", "known values: direct, proxy, deny"),
        (b"timeout 0", "1: `timeout` takes a positive number of seconds: `0`", ""),
        (b"timeout 5s", "1: `timeout` takes a positive number of seconds: `5s`", ""),
        (
            b"tcp_read_time_out 1.5",
            "1: `tcp_read_time_out` takes a positive number of milliseconds: `1.5`",
            "",
        ),
        (
            b"tcp_connect_time_out 0",
            "1: `tcp_connect_time_out` takes a positive number of milliseconds: `0`",
            "",
        ),
        (b"remote_dns_subnet 256", "1: `remote_dns_subnet` takes a number from 0 to 255: `256`", ""),
        (b"remote_dns_subnet 224.", "1: `remote_dns_subnet` takes a number from 0 to 255: `224.`", ""),
        (
            b"localnet 10.0.0.1",
            "1: `localnet` needs a netmask: `10.0.0.1`",
            "a single address has /32, in IPv6 /128",
        ),
        (b"localnet 10.0.0.0/33", "1: not a netmask: `33`", ""),
        (b"localnet 10.0.0.0/255.0.255.0", "1: not a netmask: `255.0.255.0`", ""),
        (b"localnet 10.0.0.0/8:80", "1: not a netmask: `8:80`", ""),
        (b"localnet 10.0.0.0:http/8", "1: not a port: `http`", ""),
        (b"localnet *.corp/8", "1: not an address: `*.corp`", ""),
        (b"localnet [fe80::/10", "1: wrong brackets", ""),
        (
            b"direct 10.0.0.0/33",
            "1: not a network, address or name: `10.0.0.0/33` (not a netmask: `33`)",
            DIRECT_HINT,
        ),
        # Contradictions.
        (b"proxy_dns\ndns local", "2: `dns local` contradicts line 1: `proxy_dns`", "remove one of them"),
        (b"dns local\n\nproxy_dns", "3: `proxy_dns` contradicts line 1: `dns local`", "remove one of them"),
        (b"timeout 1\ntimeout 2", "2: `timeout 2` contradicts line 1: `timeout 1`", "remove one of them"),
        # Sections.
        (
            b"[proxylist]",
            "1: unknown section: `[proxylist]`",
            "did you mean `[ProxyList]`? Known sections: [ProxyList]",
        ),
        (
            b"[Proxy List",
            "1: unknown section: `[Proxy List`",
            "did you mean `[ProxyList]`? Known sections: [ProxyList]",
        ),
        (b"[work]", "1: unknown section: `[work]`", "a chain of this name begins with `[ProxyList work]`"),
        (b"[direct]", "1: unknown section: `[direct]`", "known sections: [ProxyList]"),
        (b"[a b]", "1: unknown section: `[a b]`", "known sections: [ProxyList]"),
        (b"[ProxyList]\n[ProxyList]", "2: a second [ProxyList]", "the first is on line 1"),
        (
            b"[ProxyList a]\nraw h 1\n[ProxyList]\n[ProxyList a]",
            "4: a second [ProxyList a]",
            "the first is on line 1",
        ),
        (b"[ProxyList a]\n\n[ProxyList]", "1: no proxies in the chain `a`", PROXY_FORM),
        (b"\n[ProxyList a]\nrandom_chain", "2: no proxies in the chain `a`", PROXY_FORM),
        (b"[ProxyList direct]", "1: not a name for a chain: `direct`", NAME_HINT),
        (b"[ProxyList a b]", "1: not a name for a chain: `a b`", NAME_HINT),
        (
            b"[ProxyList a",
            "1: unknown section: `[ProxyList a`",
            "did you mean `[ProxyList]`? Known sections: [ProxyList]",
        ),
        (
            b"[ProxyList a]\nraw h 1\nrandom_chain",
            "3: a directive below [ProxyList]: `random_chain`",
            "move it above the line [ProxyList]",
        ),
        (
            b"[ProxyList a]\nquiet_mode",
            "2: a directive below [ProxyList]: `quiet_mode`",
            "move it above the line [ProxyList]",
        ),
        (
            b"socks5 h 1 user SECRET",
            "1: a proxy above [ProxyList]",
            "put the line [ProxyList] before the first proxy",
        ),
        (
            b"socks5://user:SECRET@h",
            "1: a proxy above [ProxyList]",
            "put the line [ProxyList] before the first proxy",
        ),
        (
            b"[ProxyList]\nquiet_mode",
            "2: a directive below [ProxyList]: `quiet_mode`",
            "move it above the line [ProxyList]",
        ),
        (
            b"[ProxyList]\ndynamic_chain",
            "2: a directive below [ProxyList]: `dynamic_chain`",
            "move it above the line [ProxyList]",
        ),
        # Proxies.
        (
            b"[ProxyList]\nhttps 192.0.2.1 443 user SECRET",
            "2: not how a proxy over TLS is written: `https 192.0.2.1`",
            "socks5h+tls://HOST:PORT; http+tls and the others likewise",
        ),
        (
            b"[ProxyList]\nhttps",
            "2: not how a proxy over TLS is written: `https`",
            "socks5h+tls://HOST:PORT; http+tls and the others likewise",
        ),
        (
            b"[ProxyList]\nsock5 h 1",
            "2: unknown proxy type: `sock5`",
            f"did you mean `socks5`? Known types: {TYPES}",
        ),
        (
            b"[ProxyList]\nuser:SECRET@h:1",
            "2: unknown proxy type: `user:***@h:1`",
            f"known types: {TYPES}",
        ),
        (b"[ProxyList]\nsocks5", "2: a proxy without a port", PROXY_FORM),
        (b"[ProxyList]\nsocks5 h:1080", "2: a proxy without a port", PROXY_FORM),
        (
            b"[ProxyList]\nsocks5 h user SECRET",
            "2: proxy port is not a number from 1 to 65535, after `h`",
            PROXY_FORM,
        ),
        (
            b"[ProxyList]\nsocks5 h 0",
            "2: proxy port is not a number from 1 to 65535, after `h`",
            PROXY_FORM,
        ),
        (b"[ProxyList]\nsocks5 127.1 1", "2: not an IPv4 address: `127.1`", PROXY_FORM),
        (b"[ProxyList]\nsocks5 h_\xff 1", "2: not a host name: `h_\udcff`", PROXY_FORM),
        # What belongs into other columns, or into a URL.
        (b"[ProxyList]\nsocks5 user:SECRET@h 1080", "2: a username in the place of a host", PROXY_FORM),
        (b"[ProxyList]\nsocks5 user@h 1080", "2: a username in the place of a host", PROXY_FORM),
        (
            b"[ProxyList]\nsocks5 http://user:SECRET@h 1080",
            "2: a URL in the place of a host: `http://user:***@h`",
            PROXY_FORM,
        ),
        (b"[ProxyList]\nsocks5 h:1080 1080", "2: a port in the place of a host: `h:1080`", PROXY_FORM),
        (b"[ProxyList]\nsocks5 [::1]:9 1080", "2: not an IPv6 address: `[::1]:9`", PROXY_FORM),
        (
            b"[ProxyList]\nsocks5+tls h 443 user SECRET",
            "2: not how a proxy over TLS is written: `socks5+tls h`",
            "socks5h+tls://HOST:PORT; http+tls and the others likewise",
        ),
        (
            b"[ProxyList]\nsocks5://h SECRET",
            "2: text after a proxy URL",
            "put a # before a comment",
        ),
        (
            b"[ProxyList]\nsocks5 h 1 u " + b"p" * 256,
            "2: a password of more than 255 bytes: `socks5://u:***@h:1`",
            "",
        ),
        # Not this format at all.
        ("\ufeff# a\nstrict_chain\n".encode("utf-16-le"), " this is a file in UTF-16", "save it as UTF-8"),
        ("\ufeff# a\nstrict_chain\n".encode("utf-16-be"), " this is a file in UTF-16", "save it as UTF-8"),
        ("strict_chain".encode("utf-16-le"), "1: a NUL byte: this is not a text file in ASCII or UTF-8", ""),
        (b"server = 10.0.0.1", "1: unknown directive: `server`", ""),
        (b"\x7fELF\x02\x01\x01\0", "1: a NUL byte: this is not a text file in ASCII or UTF-8", ""),
    ],
)
def test_what_is_wrong_with_a_file(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        parse(text, "etc/x.conf")
    assert (str(caught.value), caught.value.hint) == (f"etc/x.conf:{message}", hint)
    assert "SECRET" not in message + hint


@given(st.binary() | st.lists(st.sampled_from([*DIRECTIVES, "#", "\n", "1", "[ProxyList]"])))
def test_any_file_is_choices_or_an_error(data):
    data = data if isinstance(data, bytes) else " ".join(data).encode()
    try:
        assert isinstance(parse(data, "file"), PartialSettings)
    except ConfigError as err:
        assert str(err).startswith("file:")


def test_named_chains_have_their_own_type():
    text = b"""\
random_chain
route *.corp work
[ProxyList]
socks5 a 1
[ProxyList work]
round_robin_chain  # of all
chain_len = 2
socks4ip b 2
socks4 c 3
[ProxyList home]
http d 4
"""
    assert parse(text, "file") == PartialSettings(
        proxies=(Proxy("socks5", "a", 1),),
        chain_type="random",
        chain_length=1,
        chains=(
            Chain((Proxy("socks4", "b", 2), Proxy("socks4a", "c", 3)), "work", "round_robin", 2),
            Chain((Proxy("http", "d", 4),), "home"),
        ),
        rules=(Rule(name="*.corp", to="work"),),
    )


def test_every_line_is_remembered():
    text = b"dns tor\nrandom_chain\ndirect a,b\ndnat 1.1.1.1 ::1\n"
    text += b"[ProxyList]\n\nraw h 1\nraw i 1\n[ProxyList w]\nraw j 1"
    assert parse_with_origins(text, "f").origins == {
        **{"dns": "f:1", "chain_type": "f:2", "chain_length": "f:2"},
        **{direct(name="a"): "f:3", direct(name="b"): "f:3", Rewrite("1.1.1.1", 0, "::1"): "f:4"},
        **{("", -1): "f:5", ("", 0): "f:7", ("", 1): "f:8", ("w", -1): "f:9", ("w", 0): "f:10"},
    }


# ---------------------------------------------------------------- etc/pysocksify.conf


def test_our_sample_changes_nothing_as_shipped():
    sample = (ROOT / "etc/pysocksify.conf").read_bytes()
    assert parse(sample, "file") == PartialSettings(chain_type="strict", chain_length=0, dns="remote")


def test_our_sample_loads_uncommented():
    lines = (ROOT / "etc/pysocksify.conf").read_bytes().splitlines()
    examples = [line[1:] if line[:1] == b"#" and line[1:2].strip() else line for line in lines]
    assert parse(b"\n".join(examples), "file") == PartialSettings(
        proxies=(
            Proxy("socks5", "127.0.0.1", 9050),
            Proxy("socks5", "proxy.example", 1080, b"alice", b"secret"),
            Proxy("socks4a", "192.0.2.7", 1080, b"bob"),
            Proxy("http", "192.0.2.8", 3128),
            Proxy("socks5h", "2001:db8::7", 1080, b"alice", b"s cret"),
        ),
        chain_type="strict",
        chain_length=0,
        chains=(
            Chain(
                (
                    Proxy("socks5", "198.51.100.1", 1080),
                    Proxy("socks5", "198.51.100.2", 1080),
                    Proxy("raw", "198.51.100.3", 4000),
                ),
                *("work", "round_robin", 2),
            ),
        ),
        dns="remote",
        placeholders="224.128.0.0/9",
        confine="auto",
        foreign="warn",
        children="auto",
        loopback="direct",
        rules=(
            direct("192.168.0.0/16"),
            direct("fd00::/8"),
            direct("10.0.0.5/32", port=5432),
            direct("fd00::5/128", port=5432),
            direct(name="printer.example"),
            direct(name="*.corp.example", port=443),
            direct("172.16.0.0/12"),
            direct("0.0.0.0/0", port=80),
            direct("fe80::/10", port=80),
            Rule(name="*.work.example", to="work"),
            Rule("10.8.0.0/16", to="work"),
            Rule(port=25, protocol="tcp", to="block"),
            Rule("2001:db8::/128", "", 5000, 5999, "udp"),
        ),
        rewrites=(
            Rewrite("192.0.2.1", 1234, "192.0.2.2", 443),
            Rewrite("192.0.2.3", 0, "192.0.2.4", 0),
        ),
        bind_peer="latest",
        pipeline="off",
        fast_open=False,
        isolate_streams=False,
        keep_env=False,
        udp="associate",
        listen="local",
        timeout=60.0,
        connect_timeout=8.0,
        read_timeout=15.0,
        verbosity=-1,
        log="/tmp/pysocksify.jsonl",
    )


def test_our_sample_shows_every_directive():
    words = (ROOT / "etc/pysocksify.conf").read_text().replace("#", "").split()
    assert set(DIRECTIVES) <= set(words)
