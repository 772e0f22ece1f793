"""What a run hands out names no person and no folder of this machine, and holds no secret of the environment."""

import base64
import os
import re
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from lablib.core.checkout import PROJECT

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# variables of the environment that hold a secret, by their names
_SECRET = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|SSHPASS|PASSPHRASE|APIKEY|AUTHORIZATION|(?:^|_)(?:PASS|KEY|CREDENTIALS?|AUTH|PAT|JWT"
    r"|COOKIE)|(?<=MYSQL)_PWD)(?:_|$)"
)
_SHORTEST_SECRET = 8  # a shorter value would be found by accident in ordinary text
_NAMES = r"token|secret|passw(?:or)?d|signature|credential|api_?-?key|access_?-?key(?:_?id)?|account_?-?key"
# secrets by their form, wherever they stand; the group is the secret. Only a text with one of the words is looked at.
_FORMS = {
    # a field in the query of an address
    ("token=", "secret=", "passw", "pass=", "pwd=", "signature=", "sig=", "credential=", "auth=", "key"): re.compile(
        rf"(?i)[?&#;](?:[\w.-]{{0,40}}(?:{_NAMES})|sig|key|auth|pwd|pass)=(?!\[secret)([^\s&#;\"'<>\\]+)"
    ),
    # a header of HTTP
    ("authorization", "api-key", "auth-token", "private-token"): re.compile(
        r"(?i)(?:authorization|api-key|auth-token|private-token)[\"']?\s?[:=]\s?[\"']?"
        r"((?:bearer|basic|token|digest|negotiate)\s+[\w.~+/=:-]+|[\w.~+/=:-]{16,})"
    ),
    # AWS, GitHub, GitLab, Hugging Face, OpenAI and others, PyPI, Slack, Google, JSON web tokens
    ("akia", "asia", "gh", "glpat-", "hf_", "sk-", "pypi-", "xox", "aiza", "eyj"): re.compile(
        r"\b((?:AKIA|ASIA)[A-Z0-9]{16}\b|gh[a-z]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
        r"|sk-[\w-]{0,40}[A-Za-z0-9]{20,}|pypi-[\w-]{20,}|xox[a-z]-[\w-]{10,}|AIza[\w-]{30,}"
        r"|eyJ[\w-]{8,500}\.[\w-]{8,}\.[\w-]+)"
    ),
}
# `key=value` counts in a variable of the environment only: in a notebook it is code
_ASSIGNED = re.compile(rf"(?i)(?:{_NAMES}|pwd|auth)[\"']?\s*[=:]\s*[\"']?([^\s;,&\"'<>}}]+)")
# what may be the `user:password` of an address: all up to its last @
_LOGIN = re.compile(r"(?<=://)((?:(?!://)[^\s\"'<>`])+)@")


def strip_ansi(text: str) -> str:
    """The text without terminal colours."""
    return _ANSI.sub("", text)


def redactor(*, folders: Mapping[Path, str] | None = None, environ: Mapping[str, str] | None = None):
    """A function `text -> text` that makes known folders relative and blanks the environment's secrets.

    `folders` maps further folders to what is shown in their place; the project's own becomes relative paths.
    """
    shown = {str(PROJECT): ".", os.path.expanduser("~"): "~", _temporary(): "tmp"}
    shown |= {sysconfig.get_path("stdlib"): "python", sysconfig.get_path("purelib"): "site-packages"}
    shown |= {str(folder): name for folder, name in (folders or {}).items()}
    shown |= {os.path.realpath(folder): name for folder, name in shown.items()}
    # without a home there is no absolute path of one, and it is no folder to look for where it is the root
    replace_folder = _replacer({place: name for place, name in shown.items() if os.path.isabs(place) and place != "/"})
    blank = blanker(environ)
    return lambda text: replace_folder(blank(text))  # in this order: a secret may hold a folder


def blanker(environ: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """A function `text -> text` that blanks the environment's secrets, and whatever has the form of one."""
    secrets = _secrets(os.environ if environ is None else environ)
    known = re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))) or r"(?!)")

    def blank(text: str) -> str:
        text = known.sub(lambda match: f"[secret {secrets[match[0]]}]", text)
        if "://" in text:
            text = _LOGIN.sub(lambda match: "[secret]@" if _is_login(match[1]) else match[0], text)
        small = text.lower()
        for words, form in _FORMS.items():
            if any(word in small for word in words):
                text = form.sub(lambda match: match[0].replace(match[1], "[secret]"), text)
        return text

    return blank


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # no folder for temporary files can be written
        return "/"


def redact(value: Any, clean: Callable[[str], str]) -> Any:
    """A copy of a JSON value with every string in it cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key) if isinstance(key, str) else key: redact(inner, clean) for key, inner in value.items()}
    if isinstance(value, list | tuple):
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


def _secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Every secret of an environment, in each way that it may be spelled, and the variable that holds it."""
    found: dict[str, str] = {}
    for name, value in environ.items():
        for secret in _held(name, value):
            encoded = base64.b64encode(secret.encode(errors="replace")).decode()  # as in a header of HTTP
            spelled = {secret, unquote(secret), quote(secret, safe=""), repr(secret)[1:-1], encoded}
            found |= {
                text: name for text in spelled if len(text) >= _SHORTEST_SECRET and len(secret) >= _SHORTEST_SECRET
            }
    return found


def _held(name: str, value: str) -> Iterator[str]:
    """The secrets in one variable: all of it by its name; logins, tokens and passwords in it by their form."""
    if _SECRET.search(name.upper()):
        yield from (value, *value.splitlines())
    for login in filter(_is_login, _LOGIN.findall(value if "://" in value else f"://{value}")):
        user, _, password = login.partition(":")
        yield from (login, password)
        if _is_token(user):
            yield user
    for form in (*_FORMS.values(), _ASSIGNED):
        for secret in form.findall(value):
            yield from (secret, secret.split()[-1])  # without the word before it: `Basic`, `Bearer`


def _is_login(text: str) -> bool:
    """Whether it is `user:password` (which may hold an @ or a /) or a token, and not a host and a path with an @."""
    host = re.split("[/?#]", text, maxsplit=1)[0]
    if "@" in host or host == text:
        return ":" in text or _is_token(text)
    return bool(re.search(r":(?!\d*$)", host))  # what follows is no port, so it is a password with a / in it


def _is_token(user: str) -> bool:
    """Whether a user's name is long and mixed enough to be a secret itself."""
    return len(user) >= 20 or (len(user) >= 12 and bool(re.search(r"\d", user)) and bool(re.search("[a-zA-Z]", user)))
