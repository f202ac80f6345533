"""Where --init looks for proxies."""

from __future__ import annotations

from pywrap.config.settings import Chain, Proxy, Rule
from pywrap.launch.init.candidates import find_candidates


def test_all_places_are_looked_at_in_order(root):
    (root / "etc/proxychains4.conf").write_text(
        "random_chain\nchain_len = 2\n[ProxyList]\nsocks5 a 1\nhttp b 2\n"
    )
    (root / "etc/tor/torsocks.conf").write_text("TorAddress 192.0.2.1\n")
    found = find_candidates({"ALL_PROXY": "socks5h://e:3", "NO_PROXY": "10.0.0.0/8"}, str(root))
    assert [(each.origin, each.chain) for each in found] == [
        ("$ALL_PROXY", Chain((Proxy("socks5h", "e", 3),))),
        (
            f"{root}/etc/proxychains4.conf",
            Chain((Proxy("socks5", "a", 1), Proxy("http", "b", 2)), "", "random", 2),
        ),
        (f"{root}/etc/tor/torsocks.conf", Chain((Proxy("socks5h", "192.0.2.1", 9050),))),
        ("Tor's port, 9050", Chain((Proxy("socks5h", "127.0.0.1", 9050),))),
        ("the Tor Browser's port, 9150", Chain((Proxy("socks5h", "127.0.0.1", 9150),))),
        ("the port of `ssh -D` and others, 1080", Chain((Proxy("socks5h", "127.0.0.1", 1080),))),
    ]
    assert found[0].rules == (Rule("10.0.0.0/8", to="direct"),)


def test_a_port_that_was_found_already_is_not_found_twice(root):
    found = find_candidates({"all_proxy": "socks5h://127.0.0.1:9050"}, str(root))
    assert [each.chain.proxies[0].port for each in found] == [9050, 9150, 1080]


def test_a_file_that_is_named_comes_before_that_of_the_system(root, no_ports):
    (root / "own.conf").write_text("[ProxyList]\nsocks5 own 1\n")
    (root / "etc/proxychains.conf").write_text("[ProxyList]\nsocks5 system 1\n")
    (found,) = find_candidates({"PROXYCHAINS_CONF_FILE": str(root / "own.conf")}, str(root))
    assert found.chain.proxies == (Proxy("socks5", "own", 1),)


def test_what_cannot_be_read_is_told_and_no_end(root, no_ports):
    (root / "etc/proxychains.conf").write_text("nonsense\n")
    broken, file = find_candidates({"ALL_PROXY": "sock5://x"}, str(root))
    assert "unknown proxy scheme" in broken.problem and "nonsense" in file.problem
    assert broken.chain.proxies == file.chain.proxies == ()
