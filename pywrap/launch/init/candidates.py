"""Candidates for ``--init``: proxies in variables and in files of other tools, and well-known local ports."""

from __future__ import annotations

from pywrap.config.environ import ALL, NONE, proxy_of, rules_of
from pywrap.config.search import read
from pywrap.config.settings import Chain, Proxy, Rule
from pywrap.errors import ConfigError
from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The ports at which Tor, the Tor Browser and, by convention, `ssh -D` listen.
PORTS = ((9050, "Tor's port"), (9150, "the Tor Browser's port"), (1080, "the port of `ssh -D` and others"))


@frozen
class Candidate:
    """A ``chain`` from ``origin``, with its ``rules``. ``problem``: why it cannot be read, "" if it can."""

    origin: str
    chain: Chain
    rules: tuple[Rule, ...] = ()
    problem: str = ""


def find_candidates(environ: Mapping[str, str], root: str = "") -> list[Candidate]:
    """All candidates, first those that the user has set. ``root``: the folder in the place of ``/``."""
    found: list[Candidate] = []
    if any(environ.get(name) for name in ALL):
        found.append(_of_environment(environ))
    home = environ.get("HOME", "")
    chains = (
        environ.get("PROXYCHAINS_CONF_FILE", ""),
        f"{home}/.proxychains/proxychains.conf" if home.startswith("/") else "",
        f"{root}/etc/proxychains.conf",
        f"{root}/etc/proxychains4.conf",
    )
    found += _of_files(chains, "proxychains")
    tor = environ.get("TORSOCKS_CONF_FILE", ""), f"{root}/etc/tor/torsocks.conf", f"{root}/etc/torsocks.conf"
    found += _of_files(tor, "torsocks")
    known = {proxy for candidate in found for proxy in candidate.chain.proxies}
    for port, what in PORTS:
        if not any(proxy.port == port and proxy.host in ("127.0.0.1", "localhost", "::1") for proxy in known):
            found.append(Candidate(f"{what}, {port}", Chain((Proxy("socks5h", "127.0.0.1", port),))))
    return found


def _of_environment(environ: Mapping[str, str]) -> Candidate:
    try:
        proxy, name = proxy_of(environ)
        rules = rules_of(environ)[0] if any(environ.get(each) for each in NONE) else ()
    except ConfigError as err:
        return Candidate("$ALL_PROXY", Chain(), problem=str(err))
    return Candidate(name, Chain((proxy,)), rules)


def _of_files(paths: tuple[str, ...], file_format: str) -> list[Candidate]:
    """The candidate in the first of ``paths`` that exists, which is the file that the tool itself reads."""
    for path in filter(None, paths):
        try:
            said = read(path, file_format)
        except ConfigError as err:
            if isinstance(err.__context__, FileNotFoundError):
                continue
            return [Candidate(path, Chain(), problem=str(err))]
        chain = Chain(said.proxies or (), "", said.chain_type or "strict", said.chain_length or 0)
        return [Candidate(path, chain, said.rules)] if chain.proxies else []
    return []
