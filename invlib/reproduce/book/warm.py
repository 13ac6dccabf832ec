"""Kernels that need not import PyTorch and diffusers, which takes as long as many a chapter.

A plugin of pytest: ``pytest -p invlib.reproduce.book.warm --nbval --nbval-kernel-name=warm ...``
One process imports what chapters need and computes nothing; every kernel is a fork of it, with the
folder, the environment and the random numbers that a new process would have.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest

NAME = "warm"
CLIENT = Path(__file__).with_name("warm_client.py")
IMPORTED = (
    "torch._dynamo",
    "scipy.stats",
    "scipy.optimize",
    "pandas",
    "ipywidgets",
    "ipykernel.kernelapp",
    "matplotlib.figure",
    "diffusers.schedulers",
    "diffusers.models.unets.unet_2d",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "transformers.models.clip.modeling_clip",
)


def pytest_configure(config: pytest.Config) -> None:
    """Offer kernels under the name ``warm``, in every process that runs tests."""
    if hasattr(config, "workerinput") or not config.option.numprocesses:
        stack = ExitStack()
        stack.enter_context(offered(IMPORTED))
        config.add_cleanup(stack.close)


@contextmanager
def offered(modules: Iterable[str]) -> Iterator[None]:
    """Kernels called ``warm`` for this process and its children, within.

    Args:
        modules: what is imported once.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        where = Path(folder) / "socket"
        spec = Path(folder) / "kernels" / NAME / "kernel.json"
        argv = [sys.executable, "-I", str(CLIENT), str(where), "{connection_file}"]
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps({"argv": argv, "display_name": NAME, "language": "python"}))
        patch.setenv("JUPYTER_PATH", folder, prepend=os.pathsep)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(where))
            listening.listen()
            call = f"from {__name__} import serve; serve({listening.fileno()}, {tuple(modules)})"
            own = [sys.executable, "-c", call]
            server = subprocess.Popen(own, pass_fds=[listening.fileno()])
        try:
            yield
        finally:
            server.terminate()
            server.wait()


def serve(number: int, modules: Iterable[str]) -> None:
    """Import modules, and fork a kernel for everyone who asks on a listening socket."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as in every kernel
    for name in modules:
        import_module(name)
    gc.freeze()  # what is shared stays shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels that have ended
    with socket.socket(fileno=number) as listening:
        while True:
            asked, _ = listening.accept()
            with asked:
                wanted = json.loads(asked.makefile().readline())
                child = os.fork()
                if not child:
                    listening.close()
                    kernel(asked, **wanted)
                asked.sendall(f"{child}\n".encode())


def kernel(asked: socket.socket, file: str, folder: str, environment: dict[str, str]) -> None:
    """Be a kernel, until it is shut down or who asked for it is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop("JPY_PARENT_PID", None)  # not the parent of a fork, which would end for that
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed()  # PyTorch begins with the same seed always, Python draws a new one
    Thread(target=lambda: (asked.recv(1), os._exit(1)), daemon=True).start()
    sys.argv = ["ipykernel_launcher", "-f", file]
    from ipykernel.kernelapp import launch_new_instance

    try:
        launch_new_instance()
    finally:
        os._exit(0)
