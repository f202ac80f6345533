"""The configuration file that --init writes."""

from __future__ import annotations

import pytest

from pywrap.config.search import read
from pywrap.config.settings import Chain, Proxy
from pywrap.launch.init.candidates import Candidate
from pywrap.launch.init.text import file_text


@pytest.mark.parametrize("kind", ["strict", "random"])
def test_a_chain_is_written_as_it_was(kind, tmp_path):
    chain = Chain(
        (Proxy("socks4", "a", 1), Proxy("socks5", "::1", 2)), "", kind, 0 if kind == "strict" else 2
    )
    path = tmp_path / "written"
    path.write_text(file_text(Candidate("a file\nwith a line feed", chain), []))
    said = read(str(path), "proxychains")
    assert said.proxies == chain.proxies
    assert (said.chain_type or "strict", said.chain_length or 0) == (chain.type, chain.length)
