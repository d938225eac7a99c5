"""README.md's tables, from results.json."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return both tables in Markdown: errors of both sides, and seconds of an epoch in turn."""
    return f"{errors(results['errors'])}\n\n{times(results['times'])}"


def errors(rows: list[dict[str, Any]]) -> str:
    """Mean error rates over seeds; of CER also the spread, the largest less the smallest."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        groups[row["corpus"], row["split"]][row["system"]].append(row)
    lines = [
        "| corpus, split | epochs | seeds | CER majelpy | CER twin | WER majelpy | WER twin "
        "| within the spread? |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (corpus, split), sides in sorted(groups.items()):
        if len(sides) < 2:
            continue
        ours, theirs = sides["majelpy"], sides["twin"]
        cer = {name: [row["cer"] for row in side] for name, side in sides.items()}
        wer = {name: statistics.mean(row["wer"] for row in side) for name, side in sides.items()}
        means = {name: statistics.mean(values) for name, values in cer.items()}
        spread = {name: max(values) - min(values) for name, values in cer.items()}
        within = means["majelpy"] <= means["twin"] + spread["twin"]
        lines.append(
            f"| {corpus}, {split} | {ours[0]['epochs']} | {len(ours)}, {len(theirs)} "
            f"| {means['majelpy']:.2%} ({spread['majelpy']:.2%}) "
            f"| {means['twin']:.2%} ({spread['twin']:.2%}) "
            f"| {wer['majelpy']:.2%} | {wer['twin']:.2%} | {'yes' if within else 'no'} |"
        )
    return "\n".join(lines)


def times(rows: list[dict[str, Any]]) -> str:
    """Median seconds of an epoch."""
    lines = [
        "| corpus | threads | epochs | majelpy | twin | ratio |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['corpus']} | {row['threads']} | {row['epochs']} | {row['majelpy_seconds']:.2f} s "
        f"| {row['twin_seconds']:.2f} s | {row['twin_seconds'] / row['majelpy_seconds']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)
