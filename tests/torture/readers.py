"""Every reader of files, valid files of its kind, and what may be said about others."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import nn

from invlib.cli.call import read_call
from invlib.cli.files import read_pictures
from invlib.cli.keys import made, read_keys
from invlib.cli.model import check_folder
from invlib.noisefile import NoiseFile, load_noise, write_noise
from invlib.portraits.training import _resumed, fit
from invlib.rehearsal.table import KEY, keep
from invlib.reproduce.engine import store
from invlib.watermark import ErrorModel

REFUSED = (ValueError, OSError)  # what a command says in one line
CONFIG = {"work": "of the fuzzer"}
VALUES = {"x": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([3])}


@dataclass(frozen=True)
class Reader:
    """A reader, and files that it must read.

    Attributes:
        name: what it reads.
        file: name of the file, in a folder of its own.
        valid: contents that are right.
        read: reads the file in a folder, raises one of ``REFUSED``, and raises AssertionError where
            it takes what is not right.
        structured: whether a content is JSON, or safetensors with JSON at its beginning.
    """

    name: str
    file: str
    valid: tuple[bytes, ...]
    read: Callable[[Path], None]
    structured: bool = True


# --- readers


def noise(path: Path) -> None:
    found = load_noise(path)
    assert torch.isfinite(found.latents).all() and len(found.latents)
    assert isinstance(found.call, dict) and isinstance(found.scheduler_config, dict)
    assert isinstance(getattr(torch, found.dtype), torch.dtype)
    text = (found.model, found.model_hash, found.pipeline, found.scheduler, *found.verdict)
    assert all(isinstance(each, str) for each in text)


def call(path: Path) -> None:
    assert isinstance(read_call(path), dict)


def keys(path: Path) -> None:
    assert made(read_keys(path), (4, 16, 16))


def pictures(path: Path) -> None:
    frames, _ = read_pictures(path)
    assert frames and sum(f.width * f.height for f in frames) <= 2**26
    for frame in frames:
        frame.tobytes()


def errors(path: Path) -> None:
    found = ErrorModel.load(path)
    assert all(v.shape == found.noise.shape for v in found.recovered.values())


def stored(path: Path) -> None:
    """What is read of a store is what was stored, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = store.stored(path.parent, CONFIG)
    if found is not None and not all(torch.equal(found[k], v) for k, v in VALUES.items()):
        with safe_open(path, "pt") as file:  # forged with its hash, which atheris reads off
            assert file.metadata()["sha256"] == store._values_hash(found)
    assert found is not None or not path.exists()  # put aside


def checkpoint(path: Path) -> None:
    network = nn.Linear(2, 1)
    _, step, seconds = _resumed(path, network, torch.optim.AdamW(network.parameters()))
    assert step >= 0 and seconds >= 0


def index(path: Path) -> None:
    check_folder(path.parent)


def rehearsed(path: Path) -> None:
    assert "rows" in keep(path, [])


# --- valid files


def image(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture of noise in a format."""
    size = (8, 6)
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(0, 256, (6 * 8 * 3,), generator=generator, dtype=torch.uint8)
    picture = Image.frombytes("RGB", size, values.numpy().tobytes()).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def moving(kind: str) -> bytes:
    """Three frames."""
    frames = [Image.new("RGB", (8, 6), (9 * i, 0, 99)) for i in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def noises() -> tuple[bytes, ...]:
    plain: dict[str, Any] = {"prompt": "a person", "guidance_scale": 1.5, "num_inference_steps": 4}
    rich = plain | {
        "sizes": (8, 8),
        "kwargs": {"scale": 0.5},
        "embeds": torch.ones(1, 2),
        "image": Image.new("RGB", (4, 2)),
        "generator": torch.Generator().manual_seed(3),
    }
    contents = []
    with TemporaryDirectory() as folder:
        for told in (plain, rich):
            path = Path(folder, "n.safetensors")
            write_noise(
                path,
                NoiseFile(
                    *(torch.ones(1, 2, 4, 4), told, "StableDiffusionPipeline", "portraits"),
                    *("3ba4df4de9fa", "float32", "DDIMScheduler"),
                    {
                        "num_train_timesteps": 1000,
                        "beta_start": 0.1,
                        "_class_name": "DDIMScheduler",
                    },
                    verdict=("exact",),
                    round_trip_db=(-120.5,),
                    pictures=("ab",),
                    notes=("a note",),
                    seed=4,
                ),
            )
            contents.append(path.read_bytes())
    return tuple(contents)


def calls() -> tuple[bytes, ...]:
    told: dict[str, Any] = {
        "prompt": ["a person", "é"],
        "guidance_scale": 2,
        "height": 16,
        "generator": {"seed": 7},
        "kwargs": {"scale": 0.5, "deep": [[1, None, True]]},
    }
    files = {
        "image": {"picture": "beside.png"},
        "prompt_embeds": {"tensors": "beside.safetensors", "name": "a"},
    }
    return json.dumps(told).encode(), json.dumps(told | files).encode()


KEYS = {
    "Ann": {"kind": "random", "seed": 1, "radius": 3},
    "Ben": {"kind": "rings", "values": [1.2, -0.3], "channel": 1},
    "Eve": {"kind": "shading", "secret": "words", "payload": "te"},
    "Kim": {"kind": "shading", "secret": "words", "bits": 16, "channel": 0, "channels": 2},
}
INDEX = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": "0.36.0",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
ROWS = {"rows": [dict.fromkeys(KEY, 1)]}


def one_file(write: Callable[[Path], Any]) -> bytes:
    """What is in the one file that something writes into a folder."""
    with TemporaryDirectory() as folder:
        write(Path(folder, "file.safetensors"))
        (path,) = Path(folder).iterdir()
        return path.read_bytes()


def trained(path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Linear(2, 1)
    ones = torch.ones(1, 2)
    fit(network, lambda step: network(ones).square().sum(), steps=2, checkpoint=path)


def error_model(path: Path) -> None:
    noise = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    ErrorModel(noise, {"none": noise + 0.1, "JPEG 75": noise * 0.9}, "a test").save(path)


def readers() -> dict[str, Reader]:
    """All readers, by their names."""
    store_file = store._address(Path(), CONFIG)[0].name
    kinds = {"BMP": {}, "JPEG": {}, "PPM": {}, "PNG": {}, "WEBP": {}, "GIF": {}}
    still = [image(kind, **options) for kind, options in kinds.items()]
    still += [image("TIFF", compression="tiff_lzw"), image("TIFF", "CMYK"), image("PNG", "P")]
    still += [image("TIFF", "F"), image("PNG", "LA"), image("PNG", "1"), image("JPEG", "CMYK")]
    found = [
        Reader("noise", "n.safetensors", noises(), noise),
        Reader("call", "call.json", calls(), call),
        Reader("keys", "keys.json", (json.dumps(KEYS).encode(),), keys),
        Reader("errors", "e.safetensors", (one_file(error_model),), errors),
        Reader("store", store_file, (one_file(in_store),), stored),
        Reader("checkpoint", "c.safetensors", (one_file(trained),), checkpoint),
        Reader("index", "model_index.json", (json.dumps(INDEX).encode(),), index),
        Reader("rehearsal", "rehearsal.json", (json.dumps(ROWS).encode(),), rehearsed),
        Reader("pictures", "p.png", (*still, *map(moving, MOVING)), pictures, structured=False),
    ]
    return {reader.name: reader for reader in found}


MOVING = ("PNG", "GIF", "TIFF", "WEBP")


def in_store(path: Path) -> None:
    store.cell(path.parent, CONFIG, lambda: dict(VALUES))


def beside(folder: Path) -> None:
    """The files that valid calls name."""
    (folder / "beside.png").write_bytes(image("PNG"))
    save_file({"a": torch.ones(1, 2)}, folder / "beside.safetensors")


# --- mutations

NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 2**63, 2**64, 10**30, 1e308, -0.0, "", "\0", "\ud800", "é" * 300),
    *("../../etc/passwd", "/etc/passwd", "x" * 5000, [], {}, [[]], [[[[1]]]], {"tuple": 1}),
    *({"seed": 2**70}, {"seed": True}, {"seed": -1}, {"picture": "../x.png"}, {"picture": "\0"}),
    *({"tensors": "beside.png", "name": "a"}, {"tensor": "latents", "cpu": True}, {"array": "no"}),
    *({"picture": "latents", "mode": "RGB", "size": [10**6, 10**6]}, {"dict": [[[], 1]]}),
    *({"generator": "latents", "device": "cpu"}, {"generator": "call.0", "device": "meta"}),
    *("float32", "load", "DiffusionPipeline", "os", [0, 10**12], [10**9, 10**9], "F99", "\x1b[2J"),
)
TOKENS = (
    *(b"\0", b"\xff" * 8, b"\xff\xff\xff\x7f", b"[" * 3000, b"{", b"}", b'"', b"1e999", b"NaN"),
    *(b"-Infinity", b"\\ud800", b"9" * 5000, b"\x80\x00\x00\x00\x00\x00\x00\x00", b"/../", b"\n"),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a structure of JSON."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


def changed(value: Any, path: tuple[Any, ...], rng: random.Random) -> Any:
    """A structure with something else in one place: another value, none, or a second name."""
    if not path:
        return rng.choice(NASTY)
    key, rest = path[0], path[1:]
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    kind = rng.random()
    if rest or kind < 0.7:
        copy[key] = changed(value[key], rest, rng)
    elif kind < 0.85:
        del copy[key]
    elif isinstance(copy, dict):
        copy[str(rng.choice(("latents", "x", "kind", "format", "\0", "é")))] = copy.pop(key)
    else:
        copy.insert(key, rng.choice(NASTY))
    return copy


def in_structure(content: bytes, rng: random.Random) -> bytes:
    """A file whose JSON is changed, and whose tensors are as they were."""
    if content[:1] in (b"{", b"["):
        told = json.loads(content)
        return json.dumps(changed(told, rng.choice([*places(told)]), rng)).encode()
    (length,) = struct.unpack("<Q", content[:8])
    head = json.loads(content[8 : 8 + length])
    about = head.get("__metadata__", {})
    inner = [name for name, text in about.items() if text[:1] in "{["]
    if inner and rng.random() < 0.8:  # JSON in the metadata
        name = rng.choice(inner)
        told = json.loads(about[name])
        told = changed(told, rng.choice([*places(told)]), rng)
        head = head | {"__metadata__": about | {name: json.dumps(told)}}
    else:
        head = changed(head, rng.choice([*places(head)]), rng)
    text = json.dumps(head).encode()
    if rng.random() < 0.1:
        length = rng.choice((0, 2**31, 2**40, 2**63))
    else:
        length = len(text)
    return struct.pack("<Q", length) + text + content[8 + struct.unpack("<Q", content[:8])[0] :]


def in_bytes(content: bytes, others: tuple[bytes, ...], rng: random.Random) -> bytes:
    """A file with some bytes changed, lost, doubled or put in."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, to = sorted((rng.randrange(len(found) + 1), rng.randrange(len(found) + 1)))
        kind = rng.randrange(6)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at:]
        elif kind == 2:
            del found[at : min(to, at + 16)]
        elif kind == 3:
            found[at:at] = found[at : min(to, at + 64)]
        elif kind == 4:
            token = rng.choice(TOKENS)
            found[at : at + len(token) * rng.randrange(2)] = token
        else:
            other = rng.choice(others)
            found[at:] = other[min(at, len(other)) :]
    return bytes(found)


def mutated(reader: Reader, rng: random.Random) -> bytes:
    """A file that is nearly one of a reader's."""
    content = rng.choice(reader.valid)
    if reader.structured and rng.random() < 0.6:
        return in_structure(content, rng)
    return in_bytes(content, reader.valid, rng)


def refuses(reader: Reader, content: bytes, folder: Path) -> bool:
    """Whether a reader refuses a content; anything but a clear word raises."""
    path = folder / reader.file
    path.write_bytes(content)
    try:
        reader.read(path)
    except REFUSED as error:
        assert str(error), f"{reader.name} says nothing"
        return True
    return False


__all__ = ["Reader", "beside", "mutated", "readers", "refuses", "save"]
