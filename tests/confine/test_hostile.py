"""A program that tries to get out. Each test ends with the question whether a packet was seen outside."""

from tests.support.confined import ECHO, HTTP
from tests.support.namespaces import SERVER

FORBIDDEN = ("EPERM", "EACCES")


def test_it_has_no_privileges(client):
    for what, error_to_report in client.inside("privileges").items():
        assert error_to_report in (*FORBIDDEN, "EADDRINUSE"), what


def test_it_cannot_change_its_network(client):
    assert set(client.inside("network_changes")) <= {"EPERM"}


def test_it_cannot_reach_into_the_launcher(client):
    for what, error_to_report in client.inside("reach_out").items():
        # umount2 of a path that is no mount of its own namespace is EINVAL or EPERM.
        assert error_to_report in FORBIDDEN or what == "umount" and error_to_report != "OK", (
            what,
            error_to_report,
        )


def test_a_namespace_of_its_own_leads_nowhere(client):
    assert client.inside("nested", SERVER[4], HTTP) in ("ENETUNREACH", "forbidden")


def test_a_relayed_connection_is_no_way_out(client):
    # To where the rules let no client go.
    options = ("--route", "10.2.0.99 block")
    assert client.inside("disconnect_and_go", SERVER[4], ECHO, "10.2.0.99", options=options) == "EHOSTUNREACH"


def test_a_flood_of_requests_leaves_room(client):
    script = (
        f"{client.python} -I -S inside.py flood '[5000]' && curl -sS -m 50 --retry 20 --retry-connrefused "
        "--retry-delay 1 http://four.test/"
    )
    ran = client.run("sh", "-c", script, options=("--confine", "on", "--timeout", "5"), timeout=120)
    assert ran.out.endswith("hello\n")


def test_noise_for_the_name_server(client):
    assert client.inside("noise", 3000) == [True, 0, False, 1]


def test_ping_fails_in_words(client):
    ran = client.run("ping", "-c", "1", "-W", "1", SERVER[4], status=None)
    assert ran.status and (ran.err or ran.out)
