"""Warm kernels are forks of one process, and else as new ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from invlib.reproduce.book.warm import NAME, offered


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    with offered(("colorsys", "numpy.random")):
        yield


@contextmanager
def started(folder: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel in a folder, and a line to it."""
    manager = KernelManager(kernel_name=NAME)
    manager.start_kernel(cwd=str(folder))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    monkeypatch.setenv("INVLIB_SAID", "to this kernel")
    with started(tmp_path) as both:
        yield both


@pytest.fixture
def manager(kernel: tuple[KernelManager, BlockingKernelClient]) -> KernelManager:
    return kernel[0]


@pytest.fixture
def client(kernel: tuple[KernelManager, BlockingKernelClient]) -> BlockingKernelClient:
    return kernel[1]


def said(client: BlockingKernelClient, code: str) -> str:
    """What the kernel prints."""
    found: list[str] = []
    client.execute_interactive(
        code, timeout=60, output_hook=lambda m: found.append(m["content"].get("text", ""))
    )
    return "".join(found).strip()


def test_it_has_the_folder_the_environment_and_the_modules(
    client: BlockingKernelClient, tmp_path: Path
) -> None:
    assert said(client, "import os; print(os.getcwd())") == str(tmp_path)
    assert said(client, "import os; print(os.environ['INVLIB_SAID'])") == "to this kernel"
    assert said(client, "import sys; print('colorsys' in sys.modules)") == "True"


def test_no_two_share_random_numbers_or_names(tmp_path: Path) -> None:
    printed = []
    for _ in range(2):
        with started(tmp_path) as (_, client):
            assert said(client, "print('drawn' in globals())") == "False"
            drawn = "import numpy; drawn = numpy.random.rand(); print(drawn)"
            printed.append(said(client, drawn))
    assert printed[0] != printed[1]


def test_an_interrupt_reaches_it(client: BlockingKernelClient, manager: KernelManager) -> None:
    message = client.execute("import time; time.sleep(60)")
    time.sleep(1)
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=30)
    while reply["parent_header"]["msg_id"] != message:  # to whether it is ready
        reply = client.get_shell_msg(timeout=30)
    assert reply["content"]["ename"] == "KeyboardInterrupt"


def test_it_ends_with_who_asked_for_it(
    client: BlockingKernelClient, manager: KernelManager
) -> None:
    number = int(said(client, "import os; print(os.getpid())"))
    os.kill(number, 0)  # it is there
    manager.shutdown_kernel(now=True)  # kills the process that Jupyter knows
    for _ in range(100):
        if not Path(f"/proc/{number}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the kernel lives on")
