"""Children that are not Python, of a patched Python program: in the confinement of the run, or not at all."""

import os
import sys
import time

import pytest

from tests.support.confined import ECHO, FILES, PAGE, need, python_of, start
from tests.support.confined import NEVER_REACHED as PROXY
from tests.support.namespaces import SERVER, url
from tests.support.run import PROGRAMS, find_interpreter, interpreters, pysocksify, run

PROGRAM = "children_not_python.py"
PATIENCE = 60

WAYS = (
    *("run", "shell", "system", "popen", "execvp", "posix_spawn", "spawnlp", "asyncio", "pipeline"),
    *("empty environment", "preexec_fn", "new session", "another name", "thread", "forked"),
    *("python below", "python below a shell", "isolated python below a shell"),
)


@pytest.fixture
def target(client):
    """The program, where every user may read it."""
    for name in (PROGRAM, "serve_twice.py"):
        (client.package / name).write_text((PROGRAMS / name).read_text())
    return client.package / PROGRAM


@pytest.fixture
def program(client, target):
    """``program(WHAT, ...)`` runs ``tests/programs/children_not_python.py``, patched and not confined."""

    def start_it(*words, options=(), **how):
        return client.run(client.python, target, *words, options=options, **how)

    return start_it


@pytest.mark.parametrize("way", WAYS)
def test_it_fetches_through_the_proxies(program, way):
    need("curl")
    ran = program("fetch", way, PAGE, 2)
    assert (ran.out, ran.err) == ("hello\n" * 2, "")


@pytest.mark.parametrize("version", ["3.11", "3.14", "3.15"])
def test_a_child_sees_what_it_would_see_without_us(client, target, version):
    """subprocess starts it by fork_exec, and from 3.14 on by posix_spawn."""
    python = client.python if version == "3.11" else interpreters().get(version)
    if python is None or (version != "3.11" and client.user != "root"):
        pytest.skip(f"no CPython {version} that {client.user} may execute")
    folder = client.package / f"folder-{client.user}"
    folder.mkdir(exist_ok=True)
    words = client.command()
    before = words[: words.index("-m") - 1]
    plain = run(*before, python, target, "look", folder, cwd=client.package).json
    assert client.run(python, target, "look", folder, options=()).json == plain


def test_many_children_leave_nothing(program):
    few, many = program("many", 300).json
    assert few == many


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_child_that_is_left_behind_keeps_its_network(client, target, how, tmp_path):
    need("curl")
    folder = client.package / f"left-{how}-{client.user}"
    folder.mkdir()
    folder.chmod(0o777)
    fifo = folder / "go"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    words = (client.python, target, "leave", PAGE, fifo, how)
    with start(client, *words, options=()) as process:
        assert process.stdout.readline() == "left\n"
        assert process.wait(PATIENCE) == (-9 if how == "killed" else 0)
    fifo.write_text("go\n")
    done = folder / "go.done"
    end = time.monotonic() + PATIENCE
    while not done.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert done.read_text() == "hello\n"


def test_a_connection_that_a_child_inherits_works(program):
    ran = program("connected", SERVER[4], ECHO)
    assert ran.err == "hello\n"


def test_a_child_that_is_another_user_is_confined(client, target):
    if client.user != "root":
        pytest.skip("only root may")
    # One that the other user may execute as well, since it enters by itself after preexec_fn.
    python = python_of("nobody")
    *lines, outside = client.run(python, target, "become", options=()).out.splitlines()
    users, groups, networks, capabilities = (lines[at::4] for at in range(4))
    assert users == ["65534"] * 3
    assert groups == ["65534", "65534 7 8", "65534"]
    assert outside not in networks
    assert {line.split()[1].strip("0") for line in capabilities} == {""}


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_a_python_that_cannot_be_covered_is_confined(client, program, version):
    other = find_interpreter(version)
    if other is None or client.user != "root":
        pytest.skip(f"no CPython {version} that {client.user} may execute")
    ran = program("other_python", other, PAGE)
    assert (ran.out, ran.err) == ("hello\n" * 2, "")


def test_install_confines_them_and_uninstall_does_not(client, target):
    need("curl")
    words = client.command()
    words = (*words[: words.index("-m")], target, "installed", url(4), PAGE)
    hello, after, outside, alone, refused = run(*words, cwd=client.package).out.splitlines()
    assert (hello, refused) == ("hello", "refused")
    assert after == outside == alone


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_that_is_a_child_is_reached(program, host):
    assert program("serve", host).json == [host, host]


def test_git_clones(client, program, files):
    need("git")
    target = client.package / f"cloned-{client.user}"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    code = (
        "import subprocess, sys; "
        f"subprocess.run(['git', 'clone', '-q', 'http://four.test:{FILES}/repository/.git', sys.argv[1]])"
    )
    ran = client.run(client.python, "-c", code, target / "here", options=())
    assert (target / "here" / "file").read_text() == "hello\n", str(ran)


def test_gitpython_clones(client, files, tmp_path):
    need("git")
    if client.user != "root":
        pytest.skip("only this interpreter has GitPython")
    code = f"import git, sys; git.Repo.clone_from('http://four.test:{FILES}/repository/.git', sys.argv[1])"
    client.run(client.python, "-c", code, tmp_path / "here", options=())
    assert (tmp_path / "here" / "file").read_text() == "hello\n"


def test_pip_installs_from_git(client, files, tmp_path):
    """By git, and by a build in a child that is a Python."""
    need("git")
    if client.user != "root":
        pytest.skip("only this interpreter has pip and hatchling")
    project = files / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "p"\nversion = "1"\n'
    )
    (project / "p.py").write_text("hello = 1\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", project)
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "p"), ("update-server-info",)):
        run(*git, *words)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-cache-dir",
    )
    source = f"git+http://four.test:{FILES}/project/.git"
    client.run(*pip, "--root-user-action=ignore", "--target", tmp_path / "to", source, options=())
    assert (tmp_path / "to" / "p.py").read_text() == "hello = 1\n"


# ---------------------------------------------------------------- --children


def test_warned_of_once_for_each_program(program):
    ran = program("warned", 2, options=("--children", "warn"))
    assert ran.out == "started\n" * 2
    true, echo = ran.err.splitlines()
    assert "`true` is not Python: what it sends leaves directly" in true.replace("/usr/bin/", "").replace(
        "/bin/", ""
    )
    assert "echo` is not Python" in echo
    assert program("warned", 2, options=("-q", "--children", "warn")).err.count("warning") == 2


def test_what_libraries_run_at_their_import_makes_no_confinement(client):
    code = "import subprocess; subprocess.run(['/sbin/ldconfig', '-p'], stdout=-3); subprocess.run(['uname'])"
    ran = client.run(client.python, "-c", code, options=("--children", "warn"))
    assert (ran.out, ran.err) == ("Linux\n", "")


def test_nothing_is_said_of_direct_ones(program):
    assert program("warned", 1, options=("--children", "direct")).err == ""


def test_refused_ones_do_not_start(program):
    assert program("refused", options=("--children", "refuse")).out == "PermissionError 1\n" * 4


@pytest.mark.parametrize("options", [(), ("-q",)])
def test_without_confinement_one_is_told_of_and_starts(forbidden, options):
    ran = run(*forbidden, *pysocksify(*options, "-x", PROXY), "python3", PROGRAMS / PROGRAM, "warned", 3)
    assert ran.out == "started\n" * 3
    warnings = [line for line in ran.err.splitlines() if "warning" in line]
    assert [line.partition("`")[2].partition("`")[0].rpartition("/")[2] for line in warnings] == [
        "true",
        "echo",
    ]
    assert all("cannot be confined: network namespaces are switched off" in line for line in warnings)


def test_without_confinement_none_starts_if_it_must_be_confined(forbidden):
    words = pysocksify("--children", "confine", "-x", PROXY)
    ran = run(*forbidden, *words, "python3", PROGRAMS / PROGRAM, "warned", 1, status=1)
    assert ran.out == ""
    assert "true` not started: it cannot be confined" in ran.err
    assert "PermissionError: [Errno 1] pysocksify refused: `/bin/echo` cannot be confined" in ran.err


def test_a_start_takes_little_more_than_a_plain_one(program):
    """Nor does it take a Python each time: 1 ms more, 2 ms as root; and whatever a busy machine adds."""
    ours, plain = program("measure", 200).json
    assert ours - plain < 0.004, f"{ours * 1000:.2f} ms instead of {plain * 1000:.2f} ms"
