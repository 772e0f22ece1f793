"""What the recorded arms of a notebook cost, side by side."""

import pandas as pd


def budget(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """By experiment and size of the training: arms, parameters, training tokens, FLOPs, bytes kept, CPU seconds.

    Bytes kept of a text (caches, memories, fast weights) are shown where an experiment measures them. Where nothing is
    trained, one row has the arms and their CPU seconds.
    """
    found = []
    for name, table in tables.items():
        if table.empty:
            continue
        if "parameters" not in table:
            found.append({"experiment": name, **spent(table.drop_duplicates("arm"))})
            continue
        arms = table.dropna(subset=["parameters"]).drop_duplicates("arm")
        for (parameters, tokens), group in arms.groupby(["parameters", "train_tokens"]):
            row = {
                "experiment": name,
                "parameters": int(parameters),
                "training tokens": int(tokens),
                "training GFLOP (most)": round(group["train_flops"].max() / 1e9, 1),
            }
            if "state_bytes" in group and group["state_bytes"].notna().any():
                row["KiB kept (most)"] = round(group["state_bytes"].max() / 1024)
            found.append(row | spent(group))
    return pd.DataFrame(found)


def spent(arms: pd.DataFrame) -> dict[str, int | float]:
    """How many arms, the CPU seconds of the longest, the CPU minutes of all."""
    seconds = arms["cpu_seconds"]
    return {"arms": len(arms), "CPU-s an arm (most)": round(seconds.max()), "CPU-min": round(seconds.sum() / 60, 1)}
