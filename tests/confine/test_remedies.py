"""What is said where this machine forbids a confinement."""

import errno

import pytest

from pywrap.confine import remedies

SECCOMP = "Name:\tx\nSeccomp:\t2\n"


@pytest.mark.parametrize(
    "number, files, cause, remedy",
    [
        (errno.ENOSPC, {"/proc/sys/user/max_net_namespaces": "0\n"}, "switched off", "sysctl user.max_net"),
        (errno.EPERM, {"/proc/self/status": SECCOMP}, "seccomp", "docker run"),
        (errno.EPERM, {}, "forbids it", "--confine off"),
        (errno.EOPNOTSUPP, {}, "lacks a part", "nft_tproxy"),
        (errno.EAFNOSUPPORT, {}, "lacks a part", "packet sockets"),
        (errno.EIO, {}, "text of it", "--confine off"),
    ],
)
def test_a_refusal_has_a_cause_and_a_remedy(number, files, cause, remedy):
    error_to_report = remedies.explain(OSError(number, "text of it"), lambda path: files.get(path, ""))
    assert cause in error_to_report[0] and remedy in error_to_report[1]


@pytest.mark.parametrize(
    "path, value, cause",
    [
        ("user/max_user_namespaces", "0", "switched off"),
        ("kernel/unprivileged_userns_clone", "0", "for root alone"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
    ],
)
def test_the_switch_that_forbids_it_to_users_is_named(monkeypatch, path, value, cause):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    error_to_report = remedies.explain(
        OSError(errno.EPERM, ""), lambda file: value if file.endswith(path) else ""
    )
    assert cause in error_to_report[0]
