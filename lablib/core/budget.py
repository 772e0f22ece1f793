"""What the recorded arms of a notebook cost, side by side."""

import pandas as pd


def budget(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """By experiment and size of the training: arms, parameters, training tokens, FLOPs, bytes kept, CPU seconds.

    Bytes kept of a text (caches, memories, fast weights) are shown where an experiment measures them.
    """
    found = []
    for name, table in tables.items():
        if table.empty:
            continue
        arms = table.dropna(subset=["parameters"]).drop_duplicates("arm")
        for (parameters, tokens), group in arms.groupby(["parameters", "train_tokens"]):
            row = {
                "experiment": name,
                "arms": len(group),
                "parameters": int(parameters),
                "training tokens": int(tokens),
                "training GFLOP (most)": round(group["train_flops"].max() / 1e9, 1),
            }
            if "state_bytes" in group and group["state_bytes"].notna().any():
                row["KiB kept (most)"] = round(group["state_bytes"].max() / 1024)
            row["CPU-s an arm (most)"] = round(group["cpu_seconds"].max())
            row["CPU-min"] = round(group["cpu_seconds"].sum() / 60, 1)
            found.append(row)
    return pd.DataFrame(found)
