"""The manual pages and the completions: made from the same as --help, and understood by what reads them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from pywrap.config import proxychains
from pywrap.config.directives import directives
from pywrap.config.options import OPTIONS
from tests.support.run import run

ROOT = Path(__file__).parent.parent
SHARE = ROOT / "share"
PAGES = sorted(SHARE.glob("man/man*/*"))


def tool(name):
    """Skip where it is not installed; but CI installs them all, so there it is a failure."""
    if shutil.which(name) is None:
        message = f"{name} is not installed: scripts/debian installs it"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return name


def test_the_files_are_what_the_script_makes():
    ran = run(sys.executable, ROOT / "scripts" / "documents", "--check", status=None)
    assert (ran.status, ran.out) == (0, ""), ran


def test_every_directive_has_a_description():
    assert sorted(each.name for each in directives()) == sorted(proxychains.DIRECTIVES)


# ---------------------------------------------------------------- manual pages


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_man_has_no_complaint(page):
    ran = run(tool("man"), "-l", "--warnings", page, env={"MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert ran.err == ""
    assert ran.out.splitlines()[0].split()[0] == f"{page.stem.upper()}({page.suffix[1:]})"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_mandoc_has_no_complaint(page):
    assert run(tool("mandoc"), "-T", "lint", "-W", "warning", page).out == ""


def test_the_page_of_the_command_has_every_option():
    assert len(PAGES) == 3
    page = run(tool("man"), "-l", SHARE / "man/man1/pysocksify.1", env={"MANWIDTH": "200"}).out
    for option in OPTIONS:
        assert f" {option.flag}" in page


# ---------------------------------------------------------------- completions

# What is offered in a folder with `here.conf`, `here.py` (executable) and the folder `heap`.
OFFERED = {
    "pysocksify --di": ["--direct"],
    "pysocksify --show-config --ver": ["--verbose", "--version"],
    "pysocksify --dns ": ["local", "remote", "tcp://", "tor"],
    "pysocksify --udp b": ["block"],
    "pysocksify --config-format t": ["torsocks", "tsocks"],
    "pysocksify -x socks5://127.0.0.1:9050 --udp d": ["direct"],
    "pysocksify -qx e": ["embedded", "env"],
    "pysocksify --check http": ["http://"],
    "pysocksify --check -x socks5h://a:1 emb": ["embedded"],
    "pysocksify --config her": ["here.conf", "here.py"],
    "pysocksify -f her": ["here.conf", "here.py"],
    "pysocksify -x env -- only-he": ["only-here-program"],
    "pysocksify --udp block only-he": ["only-here-program"],
    "pysocksify only-here-program her": ["here.conf", "here.py"],
    "pysocksd --udp-peers ": ["any", "contacted"],
    "pysocksd --us": ["--users"],
    "pysocksd -u her": ["here.conf", "here.py"],
}
# What stands behind the = of a word: shells differ in what they print of it.
JOINED = {
    "pysocksify --dns=re": "remote",
    "pysocksify -v --env=": "off",
    "pysocksify --config=here.c": "here.conf",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bin").mkdir()
    for name, mode in (("here.conf", 0o644), ("here.py", 0o755), ("bin/only-here-program", 0o755)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    return tmp_path


def shell(folder, *command):
    return run(
        *command,
        cwd=folder,
        env={"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "ZDOTDIR": str(folder)},
    )


# bash has no way to ask: this sets what it would set. $1 is the line.
BASH = """
source "$2"
COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
# As readline does with the characters of COMP_WORDBREAKS.
mapfile -t COMP_WORDS < <(grep -oE '[^ :=]+|[:=]' <<<"$1")
[[ $1 != *' ' ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_"${COMP_WORDS[0]}"
if [[ ${#COMPREPLY[@]} = 0 && $3 ]]; then mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[-1]}"); fi
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(folder, line):
    words = line.split()
    # Where ours offers nothing for a program's own arguments, readline takes files (compopt -o default).
    files = "yes" if "only-here-program" in words[1:-1] else ""
    script = SHARE / "bash-completion/completions" / words[0]
    return shell(folder, tool("bash"), "--norc", "-c", BASH, "bash", line, script, files).out.split()


# zsh completes in an editor only: one is run in a pseudo-terminal, and what compadd was given is written out.
ZSH = r"""
zmodload zsh/zpty
zpty -b editor zsh -f -i
zpty -w editor 'PS1= PS2= RPS1=; unsetopt zle_bracketed_paste 2>/dev/null; fpath=('"${(q)2}"' $fpath)
autoload -Uz compinit && compinit -u -d '"${(q)PWD}"'/.dump
compadd () {
    local -a found
    (( ${@[(I)-O]} || ${@[(I)-A]} || ${@[(I)-D]} )) || builtin compadd -O found "$@"
    (( $#found )) && print -rl -- $found >>'"${(q)3}"'
    builtin compadd "$@"
}
zle -C offer list-choices offer-all
offer-all () { _main_complete; zle -M "" ; print -r -- END >>'"${(q)3}"' }
bindkey "^X^X" offer; unset LISTMAX; print READY'
while zpty -r editor line; do [[ $line = *READY* && $line != *print* ]] && break; done
zpty -w -n editor "$1"$'\x18\x18'
while ! grep -qs '^END$' $3; do zpty -rt editor line || zselect -t 2; done
zpty -d editor
"""


def in_zsh(folder, line):
    seen = folder / "seen"
    seen.unlink(missing_ok=True)
    shell(
        folder,
        tool("zsh"),
        "-fc",
        "zmodload zsh/zselect\n" + ZSH,
        "zsh",
        line,
        SHARE / "zsh/site-functions",
        seen,
    )
    return sorted({word for word in seen.read_text().splitlines() if word != "END"})


def in_fish(folder, line):
    script = SHARE / "fish/vendor_completions.d" / f"{line.split()[0]}.fish"
    code = f"source {shlex.quote(str(script))}; complete -C {shlex.quote(line)}"
    offered = shell(folder, tool("fish"), "--no-config", "-c", code).out.splitlines()
    return sorted(each.partition("\t")[0] for each in offered)


SHELLS = (in_bash, in_zsh, in_fish)


@pytest.mark.parametrize("complete", SHELLS)
def test_completion(complete, folder):
    assert {line: sorted(complete(folder, line)) for line in OFFERED} == OFFERED


@pytest.mark.parametrize("complete", SHELLS)
def test_completion_behind_an_equals_sign(complete, folder):
    for line, word in JOINED.items():
        assert [each.rpartition("=")[2] for each in complete(folder, line)] == [word]


def test_bash_replaces_only_what_stands_behind_a_colon(folder):
    assert in_bash(folder, "pysocksify -x socks5:") == ["//"]
    assert in_bash(folder, "pysocksify --dns=tcp:") == ["//"]
    assert in_bash(folder, "pysocksify -x socks5h://h:1 --dns=tc") == ["tcp://"]
