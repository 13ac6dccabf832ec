"""``invlib models``, ``invlib figures`` and ``invlib rehearse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..portraits import MODELS, words
from ..portraits.load import WEIGHTS, verify
from ..rehearsal import keep, rehearse
from ..rehearsal.forecast import PROFILES, choices
from ..rehearsal.table import known
from .model import check_device
from .opening import DeviceOption
from .report import show, table

ABOUT = {
    "portraits": "a prompt to 64 x 64 portraits, by latents of 16 x 16",
    "portraits-pixel": "portraits of 32 x 32 pixels, no prompt; with --scheduler DDIMScheduler",
}
PROFILE = choices(PROFILES)
COLUMNS = ["batch", "sampling", "whole_trajectory", "stepwise", "jvp_cost", "peak_gb", "seconds"]


def models(
    list_words: Annotated[bool, typer.Option("--words", help="list the prompts' words")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """List the embedded models: what they make, their size and their hash."""
    if list_words:
        known = sorted(words())
        show({"words": known if as_json else " ".join(known)}, as_json=as_json)
        return
    rows = {}
    for name in MODELS:
        size = sum(f.stat().st_size for f in (WEIGHTS / name).rglob("*") if f.is_file())
        rows[name] = {"makes": ABOUT[name], "megabytes": size / 1e6, "hash": verify(name)}
    if as_json:
        show(rows, as_json=True)
        return
    show(
        {n: f"{r['makes']}; {r['megabytes']:.1f} MB, hash {r['hash']}" for n, r in rows.items()},
        as_json=False,
    )


def figures(
    profile: Annotated[str, typer.Option(help=PROFILE)] = "tiny",
    only: Annotated[list[str] | None, typer.Option(help="figures to make, default all")] = None,
    engine: Annotated[str, typer.Option(help="serial, processes, ray or slurm")] = "processes",
    workers: Annotated[
        int | None, typer.Option(help="processes; 2, or 1 for full-size models", min=1)
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster, such as auto")] = None,
) -> None:
    """Regenerate the paper's figures; needs a checkout of the repository."""
    try:
        from ..reproduce.__main__ import ROOT, main
    except ImportError as error:
        raise ImportError(f"{error}; the figures need the extra invlib[book]") from error
    if not (ROOT / "book" / "figures").is_dir():
        raise OSError("the figures are notebooks of the repository: run this in a checkout of it")
    try:
        main(profile, only, engine, workers, address)
    except SystemExit as end:
        raise ValueError(end.code) from end


def rehearsal(
    arch: Annotated[str, typer.Option(help="sd15, sd21, sdxl, sd3, flux, wan or tiny")] = "sd21",
    steps: Annotated[int, typer.Option(min=1, help="steps of the samplers")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of the inversions")] = 2,
    batch_size: Annotated[list[int] | None, typer.Option(help="images at once; repeat")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
    device: DeviceOption = "cpu",
    compile: Annotated[bool, typer.Option("--compile", help="use torch.compile")] = False,
    guidance: Annotated[float, typer.Option(help="guidance scale")] = 1.0,
    size: Annotated[int | None, typer.Option(help="height and width of the latents")] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="round float32 products to TF32")] = False,
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("results/rehearsal.json"),
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Measure what inversion costs on a network of full size with random weights."""
    check_device(device)
    known(output)  # before hours of work, not after
    rows = rehearse(
        arch,
        steps=steps,
        rounds=rounds,
        batch_sizes=batch_size or [1],
        dtype=dtype,
        device=device,
        compile=compile,
        guidance=guidance,
        size=size,
        tf32=tf32,
    )
    keep(output, rows)
    if as_json:
        show({"rows": rows}, as_json=True)
        return
    print(f"{arch}, {rows[0]['device']}, {dtype}; evaluations a second, random weights")
    print(table(rows, [*COLUMNS, "note"]))
