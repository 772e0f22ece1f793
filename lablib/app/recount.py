"""`lab record --recount`: recorded columns that the configuration alone decides, counted again by the committed code.

Nothing is run or trained, and all other columns stay as they are recorded. An arm whose columns change says so in
`facts["recounted"]`: the commit that counted, and what was recorded before, with which its fingerprint still agrees.
"""

import dataclasses

import pandas as pd

from lablib.app.errors import BadInput
from lablib.core.experiment import Experiment
from lablib.core.provenance import provenance
from lablib.core.store import Arm, Record


def recount(experiment: Experiment, record: Record) -> None:
    """Count again what the arms of this version and of today's sweep have recorded, and say what changed."""
    if experiment.counted is None:
        print(f"{experiment.name}: no column is counted from the configuration alone", flush=True)
        return
    arms, today = record.load(experiment.name), {experiment.digest(cfg): cfg for cfg in experiment.arms("full")}
    known = {arm.digest for arm in experiment.current(arms)} & today.keys()
    again = [counted_again(arm, experiment.counted(today[arm.digest])) if arm.digest in known else arm for arm in arms]
    pairs = list(zip(arms, again, strict=True))
    if changed := sum(new is not old for old, new in pairs):
        # what is said of the arms before their numbers: a call that is stopped in between is made good by the next
        record.save(experiment.name, [dataclasses.replace(new, table=old.table) for old, new in pairs])
        record.save(experiment.name, again)
    print(f"{experiment.name}: {len(known)} arms counted again, {changed} of them changed", flush=True)


def counted_again(arm: Arm, counted: dict[str, int | float]) -> Arm:
    """The arm with the columns as they are counted now; the arm itself where they are recorded so.

    Raises BadInput for a column that is not recorded, or that has more than one value in the arm.
    """
    before = {}
    for name, value in counted.items():
        kept = arm.table[name].drop_duplicates().tolist() if name in arm.table else []
        if len(kept) != 1 and len(arm.table):
            words = f"{len(kept)} values of {name}; what the configuration alone decides has one"
            raise BadInput(f"arm {arm.digest} of {arm.experiment} has {words}: record it again")
        if kept and kept[0] != value and kept[0] != float(f"{value:.6g}" if value % 1 else value):
            before[name] = kept[0]
    if not before:
        return arm
    first = before | arm.facts.get("recounted", {}).get("before", {})
    facts = arm.facts | {"recounted": {"commit": provenance()["commit"], "before": first}}
    if any(value % 1 for value in first.values()):  # recorded with six digits, of which no fingerprint can be taken
        facts.pop("fingerprint", None)
    return dataclasses.replace(arm, table=arm.table.assign(**{name: counted[name] for name in before}), facts=facts)


def as_first_recorded(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """A table of the arm with the counts that it had when its fingerprint was taken."""
    return table.assign(**arm.facts.get("recounted", {}).get("before", {}))
