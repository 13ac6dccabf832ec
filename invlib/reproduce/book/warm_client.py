"""What Jupyter takes for a warm kernel: asks for one, and lives as long as it. Needs no package."""

import json
import os
import signal
import socket
import sys

with socket.socket(socket.AF_UNIX) as kernel:
    kernel.connect(sys.argv[1])
    asked = {"file": sys.argv[2], "folder": os.getcwd(), "environment": dict(os.environ)}
    kernel.sendall(json.dumps(asked).encode() + b"\n")
    number = int(kernel.makefile().readline())
    signal.signal(signal.SIGINT, lambda *_: os.kill(number, signal.SIGINT))
    while kernel.recv(1):
        pass
