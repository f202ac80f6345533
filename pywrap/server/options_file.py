"""The configuration file of the server: an option on each line, without its dashes."""

from __future__ import annotations

from pywrap.config.words import nearest
from pywrap.errors import ConfigError
from pywrap.server.chosen_options import Argument
from pywrap.server.option_table import OPTIONS


def read_file(path: str, is_optional: bool = False) -> list[Argument]:
    """The options in the file ``path``, in its order; [] where it ``is_optional`` and does not exist.

    Raises:
        ConfigError: the file cannot be read, or a line has no option.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().removeprefix("\ufeff").split("\n")
    except FileNotFoundError:
        if is_optional:
            return []
        raise ConfigError(f"cannot read the configuration: {path}: No such file or directory") from None
    except OSError as err:
        raise ConfigError(f"cannot read the configuration: {path}: {err.strerror}") from err
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read the configuration: {path}: not UTF-8") from None
    given = []
    for number, line in enumerate(lines, 1):
        name, _, text = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        place, text = f"{path}:{number}", text.strip()
        option = OPTIONS.get(name)
        if option is None or not option.in_file:
            near = nearest(name, [each.name for each in OPTIONS.values() if each.in_file])
            raise ConfigError(f"{place}: unknown option: `{name}`", f"did you mean `{near}`?" if near else "")
        if bool(text) != bool(option.metavar) and name not in ("allow", "deny"):
            problem = f"`{name}` takes no value" if text else f"no value for `{name}`"
            raise ConfigError(f"{place}: {problem}")
        given.append(Argument(option, text, name, place))
    return given
