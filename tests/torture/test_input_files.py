"""Files that were made to do harm: bombs, tricks, code, and names of files elsewhere."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, features
from readers import INDEX, beside, image, noises

from invlib.cli import files
from invlib.cli.call import read_call
from invlib.cli.files import read_picture, read_pictures
from invlib.cli.json_file import read_json
from invlib.cli.model import check_folder, open_model
from invlib.noisefile import load_noise
from invlib.pipelines.images import Pictures
from invlib.watermark import ErrorModel

SECONDS, MEGABYTES = 20.0, 64  # that a refusal may take


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG with as little in it as can be, whatever its size."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = zlib.compress(bytes(min((width * depth // 8 + 1) * height, 2**24)))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            *more,
            chunk(b"IDAT", rows),
            chunk(b"IEND", b""),
        ]
    )


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[files.ORIENTATION] = orientation
    return tags


BOMBS = {
    "2 Gpixel": png(2**31 - 1, 2),
    "400 million pixels": png(20000, 20000),
    "just above what Pillow warns of": png(9500, 9500),
    "70 million pixels": png(8400, 8400),
    "no width": png(0, 5),
    "text of 200 MB": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 * 10**8), 1))),
    "profile of 200 MB": png(4, 4, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2 * 10**8), 1))),
    "BMP of 10^18": b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, 10**9, 10**9, 1, 24),
    "PPM of 10^18": b"P6 1000000000 1000000000 255\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch flag) (w) file\n",
    "TIFF in a circle": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
}


@pytest.mark.found("A picture could start Ghostscript, or take memory without an end.")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_go_off(
    name: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(BOMBS[name])
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(ValueError, match="no picture that can be read|too much"):
        read_pictures(path)
    assert tracemalloc.get_traced_memory()[1] < MEGABYTES * 2**20
    tracemalloc.stop()
    assert time.monotonic() - began < SECONDS
    counted("inputs")


@pytest.mark.found("All frames of a clip were unpacked, however many there were.")
@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP"])
def test_frames_are_counted_before_they_are_unpacked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    """Each frame is small, and together they are more than a memory holds."""
    frames = [Image.new("RGB", (8, 6), (50 * i, 0, 99)) for i in range(4)]
    path = tmp_path / "a"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    assert len(read_pictures(path)[0]) == 4
    monkeypatch.setattr(files, "MOST", 3 * files.LEAST)
    with pytest.raises(ValueError, match="too much"):
        read_pictures(path)
    for number in range(4):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match="too much"):
        read_pictures(tmp_path)
    counted("inputs", 2)


@pytest.mark.found("A mask or photograph that EXIF turns was taken as it lies.")
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_exif_turns_is_not_taken_as_it_lies(
    kind: str, orientation: int, tmp_path: Path, counted: Callable[..., None]
) -> None:
    path = tmp_path / "a"
    Image.new("RGB", (8, 6)).save(path, kind, exif=exif(orientation))
    with pytest.raises(ValueError, match=f"EXIF orientation is {orientation}"):
        read_picture(path)
    Image.new("RGB", (8, 6)).save(path, kind, exif=exif(1))
    assert read_picture(path).size == (8, 6)
    counted("inputs")


MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA")
MODES += ("RGBX", "RGBa", "La", "I;16")


@pytest.mark.parametrize("mode", MODES)
def test_odd_modes_are_refused_or_kept_value_by_value(
    mode: str, counted: Callable[..., None]
) -> None:
    try:
        picture = Image.new(mode, (8, 6))
    except ValueError:
        pytest.skip(f"this Pillow has no mode {mode}")
    if mode in ("L", "RGB", "RGBA"):
        assert Pictures.of(picture).pixels.dtype == torch.uint8
    else:
        with pytest.raises(ValueError, match=f"mode {mode}; convert it first"):
            Pictures.of(picture)
    counted("inputs")


@pytest.mark.parametrize("kind", files.FORMATS)
def test_what_is_said_to_be_read_is_read(kind: str, tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    (tmp_path / "a").write_bytes(image(kind))
    assert read_picture(tmp_path / "a").size == (8, 6)


def test_a_folder_of_programs_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(BOMBS["PostScript"])
    with pytest.raises(ValueError, match="holds no pictures"):
        read_pictures(tmp_path)


# --- tensors


def tensors(head: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def declared(dtype: str, shape: list[int], end: int) -> bytes:
    about = {"latents": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}
    return json.dumps(about).encode()


NO_TENSORS = {
    "a terabyte": tensors(declared("F32", [2**38], 2**40), data=bytes(64)),
    "a terabyte in few bytes": tensors(declared("F32", [2**38], 64), data=bytes(64)),
    "an exabyte of nothing": tensors(declared("F32", [2**60, 0], 0)),
    "more than can be counted": tensors(declared("F32", [2**63, 2**63], 64), data=bytes(64)),
    "a header of an exabyte": tensors(b"{}", 2**60),
    "a header longer than the file": tensors(b"{}", 3),
    "no header": tensors(b""),
    "a header of zeros": tensors(bytes(64)),
    "an unknown dtype": tensors(declared("PICKLE", [4], 16), data=bytes(16)),
    "a pickle": pickle.dumps({"latents": [1.0]}),
    "eight bytes": bytes(8),
    "nothing": b"",
}


@pytest.mark.parametrize("name", NO_TENSORS)
def test_tensors_that_are_none_are_refused(
    name: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(NO_TENSORS[name])
    (tmp_path / "call.json").write_text(
        json.dumps({"x": {"tensors": "a.safetensors", "name": "latents"}})
    )
    began = time.monotonic()
    for read in (load_noise, ErrorModel.load, lambda _: read_call(tmp_path / "call.json")):
        if name == "an exabyte of nothing" and read not in (load_noise, ErrorModel.load):
            continue  # a tensor without values, which is one
        with pytest.raises(ValueError):
            read(path)
    assert time.monotonic() - began < SECONDS
    counted("inputs", 3)


def noise_with(folder: Path, **changes: Any) -> Path:
    """A noise file in which some entries are others."""
    content = noises()[0]
    (length,) = struct.unpack("<Q", content[:8])
    head = json.loads(content[8 : 8 + length])
    told = json.loads(head["__metadata__"]["invlib"]) | changes
    head["__metadata__"]["invlib"] = json.dumps(told)
    path = folder / "n.safetensors"
    path.write_bytes(tensors(json.dumps(head).encode(), data=content[8 + length :]))
    return path


@pytest.mark.found(
    "A noise file could name anything of torch and diffusers as its dtype or scheduler."
)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dtype": "load"}, "no dtype"),
        ({"dtype": "Tensor"}, "no dtype"),
        ({"dtype": ["float32"]}, "dtype is"),
        ({"scheduler": "DiffusionPipeline"}, "no scheduler"),
        ({"scheduler": "__doc__"}, "no scheduler"),
        ({"scheduler": "a.b"}, "no scheduler"),
        ({"scheduler_config": "some/repository"}, "scheduler_config is"),
        ({"scheduler_config": {"num_train_timesteps": 10**12}}, "1000000000000 times"),
        ({"model": 5}, "model is"),
        ({"model_hash": None}, "model_hash is"),
        ({"pictures": "abc"}, "pictures is"),
        ({"pictures": [1]}, "pictures is"),
        ({"round_trip_db": ["x"]}, "round_trip_db is"),
        ({"seed": True}, "seed is"),
        ({"seed": 2**64}, "seed 1844"),
        ({"number": -1}, "number -1"),
        ({"kind": "eval"}, "entrance 'eval'"),
        ({"call": [1]}, "damaged"),
        ({"call": {"a": {"picture": "latents", "mode": "RGB", "size": [10**6, 10**6]}}}, "damaged"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_a_noise_file_whose_entries_cannot_be_is_damaged(
    changes: dict[str, Any], said: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    load_noise(noise_with(tmp_path))
    with pytest.raises(ValueError, match=said):
        load_noise(noise_with(tmp_path, **changes))
    counted("inputs")


# --- calls


@pytest.mark.found("A call could read outside of its folder, and seeds end in tracebacks.")
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ('{"image": {"picture": "../beside.png"}}', "not in its folder"),
        ('{"image": {"picture": "link.png"}}', "not in its folder"),
        ('{"image": {"picture": "away/beside.png"}}', "not in its folder"),
        ('{"image": {"picture": "/etc/passwd"}}', "relative"),
        ('{"image": {"picture": "beside.png\\u0000.txt"}}', "null|no file"),
        ('{"image": {"picture": "."}}', "no file"),
        ('{"a": {"tensors": "../beside.safetensors", "name": "a"}}', "not in its folder"),
        ('{"a": {"seed": 1180591620717411303424}}', "random generator"),
        ('{"a": {"seed": true}}', "random generator"),
        ('{"a": {"seed": -1}}', "random generator"),
        ('{"a": 1e999}', "more than a number can be"),
        ('{"a": -Infinity}', "no number of JSON"),
        ('{"a": ' + "9" * 5000 + "}", "no JSON file that can be read"),
        ('{"a": ' + "[" * 900 + "]" * 900 + "}", "too deep|no JSON"),
        ('{"a": ' * 900 + "1" + "}" * 900, "too deep|no JSON"),
        ('{"a": {"picture": "beside.png", "picture": "beside.png"}}', "given twice"),
    ],
)
def test_a_call_reads_its_own_folder_and_is_only_data(
    told: str, said: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    beside(tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    beside(inner)
    (inner / "link.png").symlink_to(tmp_path / "beside.png")
    (inner / "away").symlink_to(tmp_path)
    path = inner / "call.json"
    path.write_text(told)
    with pytest.raises((ValueError, OSError), match=said):
        read_call(path)
    path.write_text('{"image": {"picture": "../inner/beside.png"}}')  # its own folder after all
    assert read_call(path)["image"].size == (8, 6)
    counted("inputs")


@pytest.mark.found("A call with many names took time with their square.")
def test_many_names_are_read_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "call.json"
    path.write_text(json.dumps({str(n): n for n in range(200_000)}))
    began = time.monotonic()
    assert len(read_call(path)) == 200_000
    assert time.monotonic() - began < SECONDS


def test_a_file_of_json_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "call.json"
    path.write_text('{"prompt": "a person"}')
    monkeypatch.setattr("invlib.cli.json_file.MOST", 10)
    with pytest.raises(ValueError, match="too much for a call"):
        read_json(path, "call")


# --- models


def folder_with(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(INDEX | changes))
    (tmp_path / "model" / "unet").mkdir()
    return tmp_path / "model"


@pytest.mark.found(
    "The folder of a pipeline could name modules that older versions of diffusers import."
)
@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["evil", "Pipeline"]},
        {"_class_name": None},
        {"unet": ["evil", "UNet2DModel"]},
        {"scheduler": ["os", "system"]},
        {"unet": ["invlib_evil.inner", "UNet2DModel"]},
    ],
)
def test_a_model_that_brings_code_is_refused_and_does_not_run(
    changes: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    counted: Callable[..., None],
) -> None:
    folder = folder_with(tmp_path, **changes)
    for place in (tmp_path / "evil.py", folder / "evil.py", folder / "unet" / "evil.py"):
        place.write_text(f"open({str(tmp_path / 'flag')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="names no class|code of others"):
        open_model(str(folder))
    assert not (tmp_path / "flag").exists() and "evil" not in sys.modules
    counted("faults")


class Evil:
    """What unpickling of it does."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return (Path.touch, (self.flag,))


@pytest.mark.found("Pickled weights of a folder were loaded, and before its hash was compared.")
def test_pickled_weights_are_refused_and_do_not_run(
    tmp_path: Path, counted: Callable[..., None]
) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    blocks = {"block_out_channels": (32,) * 4, "layers_per_block": 1, "sample_size": 8}
    pipe = DDPMPipeline(UNet2DModel(**blocks), DDPMScheduler())
    folder, flag = tmp_path / "model", tmp_path / "flag"
    pipe.save_pretrained(folder)
    assert open_model(str(folder)).name == str(folder)
    weights = next((folder / "unet").glob("*.safetensors"))
    for bad in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.pt"):
        with (folder / "unet" / bad).open("wb") as file:
            pickle.dump(Evil(flag), file)
    assert open_model(str(folder)).name == str(folder)  # they lie beside, and are not read
    wanted = "0" * 64
    with pytest.raises(ValueError, match="not the model that is wanted"):
        open_model(str(folder), wanted=wanted)
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot load"):
        open_model(str(folder))
    weights.unlink()
    with pytest.raises(ValueError, match="could run code"):
        check_folder(folder)
    with pytest.raises(ValueError, match="could run code"):
        open_model(str(folder))
    assert not flag.exists()
    with (folder / "unet" / "diffusion_pytorch_model.bin").open("rb") as file:
        pickle.load(file)
    assert flag.exists()  # it would have
    counted("faults", 5)


def test_a_picture_says_where_it_ends() -> None:
    """The bombs are as they should be: small files."""
    assert max(map(len, BOMBS.values())) < 10**6
    with Image.open(io.BytesIO(png(8, 6))) as picture:
        assert picture.size == (8, 6)
