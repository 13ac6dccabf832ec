"""Peak memory, of a GPU by PyTorch's own account, of a CPU by that of Linux; and the lack of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

FULL = re.compile("out of memory|can't allocate memory|not enough memory")
AVAILABLE = Path("/proc/meminfo")
GROUPS, LIMITS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
GROUP_FILES = {  # of both versions: limit, use, and what of it is given up
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
UNLIMITED = 2.0**60  # bytes: Linux' way to say that there is no limit
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
    """Memory that a device has free for this process, in bytes; None where nobody says.

    Of a GPU that includes what PyTorch holds and does not use; of a CPU it is no more than what
    Linux lets the process' group have, as in a container or a job of a cluster.
    """
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + idle)
    known = (_bytes(AVAILABLE, "MemAvailable"), *(group.left() for group in _groups()))
    return min((v for v in known if v is not None), default=None)


@dataclass(frozen=True)
class Group:
    """A group of processes, such as a container, that may take so much memory together.

    Attributes:
        folder: of Linux' account of it.
        most: bytes.
        used: the file that says how much they take.
        cache: what of that is given up when it is needed, in the file ``memory.stat``.
    """

    folder: Path
    most: float
    used: str
    cache: str

    def left(self) -> float | None:
        """Bytes that it may take beside what it has; None if nobody says."""
        try:
            now = float((self.folder / self.used).read_text())
            stat = (self.folder / "memory.stat").read_text()
        except (OSError, ValueError):
            return None
        idle = re.search(rf"^{self.cache} (\d+)$", stat, re.MULTILINE)
        return max(self.most - now + (float(idle[1]) if idle else 0.0), 0.0)


@cache
def _groups() -> tuple[Group, ...]:
    """The groups of this process that have a limit, from its own to the outermost."""
    found = []
    for line in GROUPS.read_text().splitlines() if GROUPS.exists() else ():
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        top = LIMITS / kinds
        place = top / path.lstrip("/")
        limit, *files = GROUP_FILES[kinds]
        for folder in (place, *place.parents):
            if folder.is_relative_to(top) and (most := _number(folder / limit)) < UNLIMITED:
                found.append(Group(folder, most, *files))
    return tuple(found)


def _number(file: Path) -> float:
    """What a file says, infinity for another word than a number, or no file."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return math.inf


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
