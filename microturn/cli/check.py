"""``microturn check``: do the laws hold on this machine, and what does a turn cost here?"""

from __future__ import annotations

import json as json_format
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from microturn.cli.progress import progress

if TYPE_CHECKING:
    from microturn.bench.check import Finding

VERDICTS = {True: "[green]holds[/]", False: "[bold red]BROKEN[/]", None: "measured"}


def check(
    weights: Annotated[str, typer.Option(help="Packaged name, folder, or Hugging Face repository.")] = "nano",
    minutes: Annotated[float, typer.Option(help="How long memory is watched, faster than real time.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run the laws on weights: training against streaming, batch against single, export, replay, memory; and measure.

    Exit code 1 if a law does not hold. Times are reported and break no law.
    """
    import torch

    from microturn.bench.check import check as findings_of
    from microturn.bench.check import num_findings
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import load

    use_one_thread()
    model = load(weights)
    findings = []
    with progress("check", num_findings(), shown=not json) as advance:
        for finding in findings_of(model, minutes):
            findings.append(finding)
            advance(finding.name)
    holds = all(finding.holds is not False for finding in findings)
    machine = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread"
    if json:
        described = [{"name": one.name, "holds": one.holds, "figure": one.figure, **one.values} for one in findings]
        found = {"weights": weights, "machine": machine, "holds": holds, "findings": described}
        sys.stdout.write(json_format.dumps(found) + "\n")
    else:
        _print_table(findings, f"{weights}, size {model.config.size}; {machine}")
        print("every law holds" if holds else "a law does not hold on this machine")
    if not holds:
        raise typer.Exit(1)


def _print_table(findings: list[Finding], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("what", "verdict", "figure"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.name, VERDICTS[finding.holds], escape(finding.figure))
    Console().print(table)
