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
    today = {experiment.digest(cfg): cfg for cfg in experiment.arms("full")}
    arms = [arm for arm in experiment.current(record.load(experiment.name)) if arm.digest in today]
    changed = {}
    for arm in arms:
        counted = experiment.counted(today[arm.digest])
        if before := no_longer_right(arm, counted):
            changed[arm.digest] = counted_again(arm, counted, before), list(before)
    if changed:
        record.rewrite(experiment.name, changed)
    print(f"{experiment.name}: {len(arms)} arms counted again, {len(changed)} of them changed", flush=True)


def no_longer_right(arm: Arm, counted: dict[str, int | float]) -> dict[str, int | float]:
    """What is recorded of the columns that are counted otherwise now; the record has six digits of a broken number.

    Raises BadInput for a column that is not recorded, or that has more than one value in the arm.
    """
    found = {}
    for name, value in counted.items():
        kept = arm.table[name].drop_duplicates().tolist() if name in arm.table else []
        if len(kept) != 1 and len(arm.table):
            words = f"{len(kept)} values of {name}; what the configuration alone decides has one"
            raise BadInput(f"arm {arm.digest} of {arm.experiment} has {words}: record it again")
        if kept and kept[0] not in (value, float(f"{value:.6g}") if value % 1 else value):
            found[name] = type(value)(kept[0])  # the record of old knows a whole float as an integer
    return found


def counted_again(arm: Arm, counted: dict[str, int | float], before: dict[str, int | float]) -> Arm:
    """The arm with the columns of `before` as they are counted now."""
    first = before | arm.facts.get("recounted", {}).get("before", {})
    facts = arm.facts | {"recounted": {"commit": provenance()["commit"], "before": first}}
    if any(value % 1 for value in first.values()):  # of six digits no fingerprint can be taken
        facts.pop("fingerprint", None)
    return dataclasses.replace(arm, table=arm.table.assign(**{name: counted[name] for name in before}), facts=facts)


def as_first_recorded(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """A table of the arm with the counts that it had when its fingerprint was taken."""
    return table.assign(**arm.facts.get("recounted", {}).get("before", {}))
