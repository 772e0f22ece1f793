"""What a run hands out names no person and no folder of this machine, and holds no secret of the environment."""

import os
import re
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lablib.core.store import PROJECT

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_SECRET = re.compile(r"(?:^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASS|PASSPHRASE|APIKEY|KEY|CREDENTIALS?|AUTH)(?:_|$)")
_SHORTEST_SECRET = 8  # a shorter value would be found by accident in ordinary text


def strip_ansi(text: str) -> str:
    """The text without terminal colours."""
    return _ANSI.sub("", text)


def redactor(*, folders: Mapping[Path, str] | None = None, environ: Mapping[str, str] | None = None):
    """A function `text -> text` that makes known folders relative and blanks the environment's secrets.

    `folders` maps further folders to what is shown in their place; the project's own becomes relative paths.
    """
    shown = {str(PROJECT): ".", str(Path.home()): "~", tempfile.gettempdir(): "tmp"}
    shown |= {sysconfig.get_path("stdlib"): "python", sysconfig.get_path("purelib"): "site-packages"}
    shown |= {str(folder): name for folder, name in (folders or {}).items()}
    shown |= {os.path.realpath(folder): name for folder, name in shown.items()}
    replace_folder = _replacer({folder: name for folder, name in shown.items() if len(folder) > 1})
    replace_secret = _blank(os.environ if environ is None else environ)
    return lambda text: replace_secret(replace_folder(text))


def redact(value: Any, clean: Callable[[str], str]) -> Any:
    """A copy of a JSON value with every string in it cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: redact(inner, clean) for key, inner in value.items()}
    if isinstance(value, list):
        return [redact(inner, clean) for inner in value]
    return value


def _replacer(shown: dict[str, str]) -> Callable[[str], str]:
    longest_first = sorted(shown, key=len, reverse=True)
    names = "|".join(map(re.escape, longest_first))
    # a colour code may stand directly before a path, and ends in a letter
    pattern = re.compile(rf"(\x1b\[[0-9;]*m|(?<![\w.~-]))({names})(?:(/)(?=[\w.~@+-])|(?![\w.-]))")

    def put(match: re.Match) -> str:
        name, slash = shown[match[2]], match[3] or ""
        return match[1] + ("" if slash and name == "." else name + slash)

    return lambda text: pattern.sub(put, text) if "/" in text else text


def _blank(environ: Mapping[str, str]) -> Callable[[str], str]:
    named = {value: name for name, value in environ.items() if _SECRET.search(name.upper())}
    secrets = {value: name for value, name in named.items() if len(value) >= _SHORTEST_SECRET}
    if not secrets:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))))
    return lambda text: pattern.sub(lambda match: f"[secret {secrets[match[0]]}]", text)
