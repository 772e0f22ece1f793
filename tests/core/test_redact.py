"""Nothing that is handed out names a folder of this machine or holds a secret of the environment."""

import sysconfig
import tempfile
from pathlib import Path

import pytest

from lablib.core.redact import redactor, strip_ansi
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
