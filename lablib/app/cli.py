"""The command `lab`: run the notebooks, list them, record and verify results, report, examine the machine."""

import os
import sys
from pathlib import Path
from typing import Any

import click

import lablib.app.quick_imports  # noqa: F401
from lablib.app.errors import BadInput
from lablib.app.streams import steady_streams
from lablib.core.checkout import PROJECT, misplaced

RUNS = PROJECT / "runs"


class OneLine(click.Group):
    """A group whose every complaint is one line on standard error, with exit code 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        steady_streams()
        try:
            code = super().main(*args, standalone_mode=False, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help())
            code = 0
        except click.ClickException as error:
            code = _complain(error.format_message())
        except BadInput as error:
            code = _complain(str(error))
        except OSError as error:  # of the surroundings: a folder that cannot be read, a disk that is gone
            _complain(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
            code = 1
        except click.Abort:
            code = 130
        if not standalone_mode:
            return code
        sys.exit(code)


def _complain(message: str) -> int:
    click.echo(f"lab: {' '.join(message.split())}", err=True)
    return 2


def _folder(text: str | Path) -> Path:
    if str(text) == "":  # such as an unset variable of a shell, which would scatter runs over this folder
        raise BadInput("--out is empty; name a folder")
    try:
        os.stat(text)
    except OSError as error:  # a folder that is not there may be made, or each command says why it cannot
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise BadInput(f"--out {text}: {error.strerror}; name another folder") from None
    return Path(text)


on_option = click.option("--on", metavar="ADDRESS", help="Send arms to a Dask scheduler's workers (local: start one).")
out_option = click.option("--out", type=_folder, metavar="FOLDER", default=RUNS, help="Folder of the runs [runs/].")


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Run the lab's notebooks, and keep what came of them."""
    try:
        words = misplaced(Path.cwd())
    except FileNotFoundError:
        raise BadInput("the current folder is gone; cd to another one") from None
    if words and context.invoked_subcommand != "doctor":  # which says it among the rest
        raise BadInput(words)
    _settle()


def _settle() -> None:
    """Give this process and those below it what odd surroundings lack."""
    if os.environ.get("COLUMNS", "80").strip() in ("", "0", "1"):  # a terminal that does not know its width
        del os.environ["COLUMNS"]
    if not os.path.isabs(os.path.expanduser("~")):  # neither HOME nor an entry for this user: Jupyter asks for one
        from lablib.core.files import lab_home

        os.environ["HOME"] = str(lab_home().absolute())


@main.command()
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("--scale", metavar="smoke|lab|full", help="How large [LAB_SCALE, else lab].")
@click.option("-p", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--workers", type=int, metavar="N", help="Budget of CPU processes [the cores].")
@click.option("--timeout", type=float, metavar="SECONDS", help="Deadline of a whole notebook [by scale].")
@click.option("--resume", metavar="ID", help="Run what is missing or failed in an earlier run (`last`: the newest).")
@on_option
@out_option
def run(notebooks, scale, parameters, workers, timeout, resume, on, out) -> int:
    """Run notebooks and write an offline report.

    A NOTEBOOK is a number (01), a name (01_seesaw_effect) or a path; all of the lab's by default.
    """
    from lablib.app import on as where
    from lablib.app import pipeline

    if resume is not None:
        if notebooks or scale or parameters:
            raise BadInput("--resume takes notebooks, scale and parameters from the run; leave them out")
        record, notes = pipeline.old_run(resume, workers=workers, timeout=timeout, out=out), []
    else:
        record, notes = pipeline.new_run(
            notebooks, scale=scale, parameters=parameters, workers=workers, timeout=timeout, out=out
        )
    for note in notes:
        click.echo(note)
    count = len(record.notebooks)
    plural = "" if count == 1 else "s"
    again = f"lab run --resume {record.id}{_out_option(out)}"
    with where.arms_on(on, record.workers):
        where.refuse_unless_usable()
        click.echo(
            f"run {record.id}: {count} notebook{plural} at {record.scale} scale, up to {record.workers} processes"
        )
        try:
            code = pipeline.execute(record)
        except OSError as error:
            click.echo(f"lab: the run's folder cannot be written: {error.strerror}: {again}", err=True)
            return 1
    if record.error:
        click.echo(f"lab: {record.error}", err=True)
    if code:
        click.echo(f"not all is well; when it is mended: {again}", err=True)
    return _report(record, out) or code


def _report(record: Any, out: Path, still: Any = None) -> int:
    """Write the report and say where; 1 where it cannot be written."""
    from lablib.app import report

    try:
        path = report.write(record, still)
        near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path  # as one would type it here
        click.echo(f"report: {near}")
    except OSError as error:
        click.echo(f"lab: no report: {error.strerror}: lab report {record.id}{_out_option(out)}", err=True)
        return 1
    return 0


@main.command("list")
@click.argument("subject", required=False)
@out_option
def list_(subject: str | None, out: Path) -> int:
    """Show the notebooks and subjects, and what was run of them; of a SUBJECT its experiments."""
    from lablib.app import listing

    if subject is None:
        for line in listing.notebook_lines(out):
            click.echo(line)
        click.echo()
    try:
        for line in listing.subject_lines() if subject is None else listing.experiment_lines(subject):
            click.echo(line)
    except BadInput:
        raise
    except Exception as error:
        click.echo(f"the experiments cannot be listed ({type(error).__name__}: {error}); `lab doctor` may know why")
        return 1
    return 0


@main.command("record")
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--images", is_flag=True, help="Draw the figures of the recorded tables too.")
@click.option("--partial", is_flag=True, help="Write what is already computed, compute nothing.")
@click.option("--recount", is_flag=True, help="Count recorded parameters and FLOPs again; run and train nothing.")
@click.option("--workers", type=int, metavar="N", help="Budget of CPU processes [the cores].")
@on_option
def record_(experiments, images, partial, recount, workers, on) -> int:
    """Compute what notebooks/results/ lacks, from the committed code."""
    from lablib.app import checks, record
    from lablib.app.on import arms_on

    workers = checks.checked_workers(workers)
    with arms_on(on, workers):
        return record.record(experiments, images=images, partial=partial, workers=workers, recount=recount)


@main.command("bench")
@click.argument("operators", nargs=-1, metavar="[OPERATOR]...")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[a GPU if there is one]")
def bench_(operators, device) -> int:
    """Time the providers of an operator on this machine, beside the floor."""
    from lablib.app import bench

    return bench.bench(operators, device=device, live=sys.stdout.isatty())


@main.command("verify")
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--arms", type=int, default=1, metavar="N", help="How many of each experiment, the cheapest first [1].")
@click.option("--arm", "digests", multiple=True, metavar="DIGEST", help="This recorded arm; may be repeated.")
@click.option("--against", metavar="COMMIT", help="Compare with what that commit's code computes here instead.")
@click.option("--workers", type=int, metavar="N", help="Budget of CPU processes [the cores].")
@on_option
def verify_(experiments, arms, digests, against, workers, on) -> int:
    """Compute recorded arms again, from nothing, and compare them with the record."""
    from lablib.app import checks, verify
    from lablib.app.on import arms_on

    workers = checks.checked_workers(workers)
    if on is not None and against is not None:
        raise BadInput("--against computes with two codes on this machine; leave --on out")
    with arms_on(on, workers):
        return verify.verify(experiments, count=arms, digests=digests, workers=workers, against=against)


@main.command("report")
@click.argument("identity", metavar="ID")
@click.option("--images", is_flag=True, help="With a picture of each figure, for readers without JavaScript.")
@out_option
def report_(identity: str, images: bool, out: Path) -> int:
    """Build report.html of a run again (`last`: the newest)."""
    from lablib.app import checks, drawing, run_state

    return _report(run_state.find(checks.check_folder("--out", out), identity), out, drawing.still if images else None)


@main.command("slice")
@click.argument("model", metavar="FOLDER", type=Path)
@click.option("--budget", required=True, metavar="NAME|FIELDS", help="A trained budget, or such as width=48,hidden=96.")
@click.option("--to", "folder", required=True, type=Path, metavar="FOLDER", help="Where the slice is written.")
def slice_(model: Path, budget: str, folder: Path) -> int:
    """Cut a smaller model out of a saved elastic one: no training, no data."""
    from lablib.app import slicing

    for line in slicing.slice_model(model, budget, folder):
        click.echo(line)
    return 0


@main.command()
@out_option
def doctor(out: Path) -> int:
    """Say what works on this machine and how to mend the rest."""
    from lablib.app import doctor

    findings = doctor.examine(out)
    colours = {doctor.GREEN: "green", doctor.YELLOW: "yellow", doctor.RED: "red"}
    for one in findings:
        state = click.style(f"{one.state:<6}", fg=colours[one.state])
        mend = f" -> {one.mend}" if one.mend and one.state != doctor.GREEN else ""
        click.echo(f"{state}  {one.subject}: {one.found}{mend}")
    return int(any(one.state == doctor.RED for one in findings))


def _out_option(out: Path) -> str:
    return "" if out == RUNS else f" --out {out}"


if __name__ == "__main__":
    main()
