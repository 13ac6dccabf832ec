"""Peak memory, of a GPU by PyTorch's own account, of a CPU by that of Linux; and the lack of it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

FULL = re.compile("out of memory|can't allocate memory|not enough memory")
AVAILABLE = Path("/proc/meminfo")
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: torch.device) -> None:
    """Forget earlier peaks."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif RESET.exists():
        RESET.write_text("5")


def peak(device: torch.device, before: float | None) -> float | None:
    """Peak memory since the last reset, less what was in use before, in GB.

    Linux counts in pages and some of them late, so that work of less than a megabyte may measure
    as 0; a process that meanwhile gave more back than the work took measures as 0 as well.

    Args:
        device: where the work was done.
        before: what :func:`in_use` said before; a GPU is taken as empty then.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    highest = in_use("VmHWM")
    return None if highest is None or before is None else max(highest - before, 0.0)


def in_use(line: str = "VmRSS") -> float | None:
    """A line of Linux' own account of this process, in GB; None on other systems."""
    return None if (found := _bytes(STATUS, line)) is None else found / 1e9


def free_bytes(device: torch.device) -> float | None:
    """Memory that a device has free, in bytes; None where nobody says."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return _bytes(AVAILABLE, "MemAvailable")


def _bytes(file: Path, line: str) -> float | None:
    """What a line ``name: N kB`` of Linux' own account says; None on other systems."""
    if not file.exists():
        return None
    found = re.search(rf"{line}:\s+(\d+) kB", file.read_text())
    return int(found[1]) * 1024.0 if found else None


def is_full(error: Exception) -> bool:
    """Whether an error says that memory does not suffice; on a CPU PyTorch has no class for it."""
    full = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return full or (isinstance(error, RuntimeError) and FULL.search(str(error)) is not None)
