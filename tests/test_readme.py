"""What the README says is done: its commands exist and run in their smoke forms, its files and images are there."""

import hashlib
import json
import re
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner
from real_notebooks import COMMAND

from lablib.app.cli import main
from lablib.core.store import PROJECT

README = (PROJECT / "README.md").read_text()
BLOCK = re.search(r"```sh\n(lab doctor.*?)```", README, re.DOTALL)[1]
COMMANDS = [line.split("#")[0].split()[1:] for line in BLOCK.splitlines()]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_lab_command_is_one_the_command_line_knows(words):
    result = CliRunner().invoke(main, [words[0], "--help"])
    assert result.exit_code == 0
    for option in (word for word in words if word.startswith("-")):
        assert option in result.output


@pytest.mark.parametrize(("command", "said"), [("doctor", "python"), ("list", "01_seesaw_effect")])
def test_lab_doctor_and_list_run_here(command, said):
    done = subprocess.run([sys.executable, "-m", "lablib.app.cli", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout.lower()


@pytest.mark.slow
def test_lab_run_runs_the_notebooks_at_smoke_scale_and_ends_with_the_path_of_the_report(smoke_run):
    assert list(COMMAND) in COMMANDS
    assert smoke_run.code == 0, smoke_run.text
    last = smoke_run.text.splitlines()[-1]
    assert last.startswith("report: ")
    assert (smoke_run.lab.folder / last.removeprefix("report: ")).samefile(smoke_run.folder / "report.html")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`(?:PIP_\S+ )?make ([a-z-]+)", README))))
def test_every_make_target_exists_and_parses(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_schedules_parse():
    minute, hour, day, month, weekday = re.search(r"^(\S+ \S+ \S+ \S+ \S+)  cd", README, re.MULTILINE)[1].split()
    assert (int(minute), int(hour), day, month, int(weekday)) == (0, 3, "*", "*", 1)
    workflow = yaml.safe_load(re.search(r"on: (\{schedule.*?\]\})`", README)[1])
    assert workflow["schedule"][0]["cron"].split() == [minute, hour, day, month, weekday]


def test_links_to_files_lead_somewhere():
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_the_tree_names_what_is_there():
    tree = re.search(r"## The tree\n\n```\n(.*?)```", README, re.DOTALL)[1]
    inside = ""
    for line in tree.splitlines():
        name = line.split()[0]
        inside = name if not line.startswith(" ") else inside
        assert (PROJECT / (name if not line.startswith(" ") else inside + name)).is_dir(), name


@pytest.mark.parametrize(
    "note", sorted((PROJECT / "notebooks" / "results" / "images").glob("*.json")), ids=lambda p: p.stem
)
def test_an_image_was_drawn_from_the_table_as_it_is_recorded(note):
    drawn = json.loads(note.read_text())
    table = PROJECT / "notebooks" / "results" / f"{note.stem.replace('-', '/', 1)}.csv"
    assert hashlib.sha256(table.read_bytes()).hexdigest() in drawn.values()
    assert note.with_suffix(".png").exists()


@pytest.mark.parametrize("block", re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
def test_the_shell_can_parse_each_block(block):
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_can_parse_each_block_and_each_has_workers_with_one_thread(block):
    compile(block, "README.md", "exec")
    assert "processes=1" in block or "--nthreads 1" in block
