"""A folder that no other user can change, for the files of a run."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def private_folder(places: Iterable[str]) -> str:
    """The first of ``places`` that is a folder of this user alone, made if need be (mode 0700).

    Raises:
        OSError: other users can change each of them, or none can be made.
    """
    user = os.geteuid()
    failure: OSError | None = None
    for place in places:
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            # The folder exists; its type, owner and mode are checked below.
            pass
        except OSError as err:
            failure = err
            continue
        status = os.lstat(place)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o077:
            return place
        failure = PermissionError(1, f"{place} can be changed by others")
    assert failure is not None, "each place either returned or failed"
    raise failure
