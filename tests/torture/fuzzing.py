"""Fuzz one reader with atheris: ``python fuzzing.py READER FOLDER SECONDS``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris

INSTRUMENTED = [  # what reads; all that is native, as in Pillow and safetensors, is not seen into
    *("invlib.cli", "invlib.noisefile", "invlib.packing", "invlib.watermark", "invlib.portraits"),
    *("invlib.rehearsal.table", "invlib.reproduce.engine"),
]
with atheris.instrument_imports(include=INSTRUMENTED):
    from readers import beside, readers, refuses


def main() -> None:
    """Begin with the valid files; end with an error at the first fault."""
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    reader = readers()[name]
    warnings.simplefilter("ignore")
    corpus, work = folder / "corpus", folder / "work"
    corpus.mkdir()
    work.mkdir()
    beside(work)
    for number, content in enumerate(reader.valid):
        (corpus / str(number)).write_bytes(content)

    def one(content: bytes) -> None:
        refuses(reader, content, work)
        for file in work.glob("*.damaged"):
            file.unlink()

    options = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-timeout=60"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={folder}/", *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
