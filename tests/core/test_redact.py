"""Nothing that is handed out names a folder of this machine or holds a secret of the environment."""

import base64
import sysconfig
import tempfile
from pathlib import Path

import pytest

from lablib.core.redact import blanker, redact, redactor, strip_ansi
from lablib.core.store import PROJECT

HOME = Path.home()


@pytest.fixture
def clean(tmp_path):
    environ = {
        "HF_TOKEN": "hf_abcdefgh",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUt/nF",
        "KEYBOARD": "qwertyuiop",
        "A_KEY": "1",
    }
    return redactor(folders={tmp_path: "."}, environ=environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{PROJECT}/lablib/core/store.py:3", "lablib/core/store.py:3"),
        (f"in {PROJECT}, line 2", "in ., line 2"),
        (f"\x1b[32m{PROJECT}/a.py\x1b[39m", "\x1b[32ma.py\x1b[39m"),
        (f"{HOME}/notes.txt", "~/notes.txt"),
        (f'"{HOME}"', '"~"'),
        (f"file://{PROJECT}/x", "file://x"),
        (f"{tempfile.gettempdir()}/ipykernel_12/34.py:1: UserWarning", "tmp/ipykernel_12/34.py:1: UserWarning"),
        (f"{sysconfig.get_path('stdlib')}/json/decoder.py", "python/json/decoder.py"),
        (f"{sysconfig.get_path('purelib')}/torch/nn.py", "site-packages/torch/nn.py"),
        ("token hf_abcdefgh!", "token [secret HF_TOKEN]!"),
        ("wJalrXUt/nF", "[secret AWS_SECRET_ACCESS_KEY]"),
        ("qwertyuiop and 1 and 3/4", "qwertyuiop and 1 and 3/4"),
    ],
)
def test_known_folders_become_relative_and_secrets_blank(clean, text, expected):
    assert clean(text) == expected


def test_a_neighbour_of_the_project_is_not_the_project(clean):
    assert clean(f"{PROJECT}-other/x").endswith(f"{PROJECT.name}-other/x")


def test_the_longest_folder_wins(clean, tmp_path):
    assert clean(f"{tmp_path}/a.ipynb") == "a.ipynb"


def test_terminal_colours_go():
    assert strip_ansi("\x1b[0;31mred\x1b[0m \x1b[38;5;241mgrey\x1b[39m") == "red grey"


# variables as people have them, and every spelling of the secret in each that must not be handed out
HELD = {
    "HTTPS_PROXY": ("http://ada:correct-horse@proxy:3128", ["correct-horse", "ada:correct-horse"]),
    "http_proxy": ("ada:battery-staple@proxy:3128", ["battery-staple"]),
    "PIP_INDEX_URL": (
        "https://__token__:pypi%2FAgEI-cGF1@pypi.example.org/simple",
        ["pypi%2FAgEI-cGF1", "pypi/AgEI-cGF1"],
    ),
    "DATABASE_URL": (
        "postgresql+psycopg://lab:p@ss/w:rd#1@db.example.org/runs",
        ["p@ss/w:rd#1", "p%40ss%2Fw%3Ard%231"],
    ),
    "ENCODED": ("amqp://lab:s%40crEt%2Fword@mq", ["s@crEt/word", "s%40crEt%2Fword"]),
    "ORIGIN": ("https://4f1e9a77c0de8b21@git.example.org/lab.git", ["4f1e9a77c0de8b21"]),
    "GITHUB": ("https://9d2c77aa01fe4b36:x-oauth-basic@github.com/a/b", ["9d2c77aa01fe4b36"]),
    "MIRRORS": (
        "https://a:first-one@h1/x, https://b:second-one@h2/y;redis://:third-one@h3",
        ["first-one", "second-one"],
    ),
    "REDIS_URL": ("redis://:only-a-password@cache:6379/0", ["only-a-password"]),
    "DATA_SOURCE": ("https://host/data.csv?se=2030&sig=Zm9vYmFy%2Bw%3D%3D&x=1", ["Zm9vYmFy%2Bw%3D%3D", "Zm9vYmFy+w=="]),
    "CALLBACK": ("https://host/#access_token=opaque-12345&state=2", ["opaque-12345"]),
    "GIT_CONFIG_VALUE_0": ("Authorization: Basic YWRhOmh1bnRlcjI=", ["YWRhOmh1bnRlcjI="]),
    "STORAGE": ("DefaultEndpoints=https;AccountName=lab;AccountKey=aGVsbG8gd29ybGQ=;X=y", ["aGVsbG8gd29ybGQ="]),
    "PGPASSWORD": ("elephants-remember", ["elephants-remember", base64.b64encode(b"elephants-remember").decode()]),
    "MYSQL_PWD": ("dolphins-forget", ["dolphins-forget"]),
    "DEPLOY_KEY": (
        "-----BEGIN KEY-----\nMIIEpAIBAAKC\n-----END KEY-----",
        ["MIIEpAIBAAKC", "MIIEpAIBAAKC\\n-----END KEY-----"],
    ),
    "GITHUB_PAT": ("not-of-a-known-form", ["not-of-a-known-form"]),
    "dockerAuth": ('{"auths": {"registry": {"auth": "bG9uZzpzZWNyZXQ="}}}', ["bG9uZzpzZWNyZXQ="]),
}


@pytest.mark.parametrize("name", HELD)
def test_a_secret_in_any_variable_is_blanked_in_every_spelling(name):
    value, spellings = HELD[name]
    clean = redactor(environ={name: value})
    for secret in spellings:
        text = clean(f"Error: cannot use {secret!s} with ({secret}), see '{value}'")
        assert secret not in text
        assert text.startswith("Error: cannot use [secret")
        assert text.endswith("'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "origin https://ada:pw@git.example.org/lab.git (fetch)",
            "origin https://[secret]@git.example.org/lab.git (fetch)",
        ),
        ("ftp://a:p@ss/w@host/x and http://b:c@h", "ftp://[secret]@host/x and http://[secret]@h"),
        ("'https://ghp_0123456789abcdefghij0123456789@host'", "'https://[secret]@host'"),
        ("GET /x?user=ada&token=abc&n=5", "GET /x?user=ada&token=[secret]&n=5"),
        ("https://h/x?X-Amz-Signature=0a1b&X-Amz-Date=2", "https://h/x?X-Amz-Signature=[secret]&X-Amz-Date=2"),
        ('{"Authorization": "Bearer abc.def"}', '{"Authorization": "[secret]"}'),
        ("Proxy-Authorization: Basic YTpi", "Proxy-Authorization: [secret]"),
        ("X-API-Key: 0123456789abcdef0123", "X-API-Key: [secret]"),
        ("id AKIAIOSFODNN7EXAMPLE of AWS", "id [secret] of AWS"),
        ("hf_AbCdEfGhIjKlMnOpQrStUvWxYz01", "[secret]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "[secret]"),
    ],
)
def test_what_has_the_form_of_a_secret_is_blanked_wherever_it_comes_from(text, expected):
    assert blanker({})(text) == expected
    assert blanker({})(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://medium.com/@ada/a-story and https://host:8888/tree/@scope/x",
        "git clone ssh://git@github.com/ada/lab.git",
        "mail ada@example.org, or see http://example.org/?q=a@b",
        "read(tokens=512, token=ids[:, -1], key=keys, password_hint=None)",
        "the token at position 5: authorization of the heads",
        "for key, value in pairs: task-specific-and-rather-long-name-of-a-thing",
        "longcontext/seesaw a1b2c3d4e5f6 0.78 [0.69, 0.86] aaa",
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    short = {
        "A_KEY": "a",
        "B_PASSWORD": "the",
        "C_URL": "http://a:aaa@h",
        "D_TOKEN": "",
        "SITE": "postgresql://longcontext@db",
    }
    assert redactor(environ=short)(text) == text


def test_a_secret_that_holds_a_folder_goes_before_the_folder_does():
    secret = f"{PROJECT}/keys/5-of-them"
    assert redactor(environ={"SIGNING_KEY": secret})(f"see {secret}") == "see [secret SIGNING_KEY]"


def test_names_in_a_value_and_tuples_are_cleaned_too():
    clean = blanker({"A_TOKEN": "hidden-in-here"})
    assert redact({"hidden-in-here": ("hidden-in-here", 1, None)}, clean) == {
        "[secret A_TOKEN]": ["[secret A_TOKEN]", 1, None]
    }


def test_without_a_home_and_without_a_folder_for_temporary_files_the_rest_is_cleaned(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a KeyError, as for a user without an entry
    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert redactor()(f"{PROJECT}/a.py, ~/b, /c") == "a.py, ~/b, /c"
