"""Models from a hub: what is asked, what is fetched, and every fault in one sentence."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from loopback_hub import COMMIT, Hub, serving

from invlib.reproduce.models import checking, fetching, places
from invlib.reproduce.models.fetching import fetch, fetch_all, is_needed, noted, offer
from invlib.reproduce.models.full_size import RANDOM, full_size
from invlib.reproduce.models.places import PROMPTS, needed, pixel_source, text_source

FIRST, SECOND, _ = full_size("paper").places
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
PIXELS = "march/imagenet64_uncond_100M_1500K.pt"


def write(file: Path, data: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with all that profile ``paper`` fetches, in a few bytes, and nothing fetched yet."""
    folder = tmp_path / "served"
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        write(folder / FIRST / name, "{}")
    write(folder / FIRST / WEIGHTS, os.urandom(20_000))
    write(folder / FIRST / RANDOM, "random")
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "all.safetensors", "a.ckpt"):
        write(folder / FIRST / name, os.urandom(9_000))
    write(folder / "datasets" / PROMPTS / "README.md", "words")
    write(folder / "datasets" / PROMPTS / "data/eval.parquet", os.urandom(100))
    write(folder / PIXELS, os.urandom(3_000_000))
    for variable in ("INVLIB_MODEL_PAPER", "INVLIB_PROMPTS", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    with serving(folder) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("INVLIB_PIXEL_MODEL", f"{server.url}/{PIXELS}")
        yield server


def model() -> places.Source:
    return text_source("paper")


def sentence_of(error: pytest.ExceptionInfo[RuntimeError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    return text


# --- what is fetched


def test_a_profile_is_fetched_once_and_noted(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "out" / "models.json"
    record = fetch_all("paper-rehearsal", file)
    assert record["mark"] == "random weights: rehearsal"
    assert json.loads(file.read_text()) == record
    assert [row["place"] for row in record["models"]][:2] == [FIRST, PROMPTS]
    assert record["models"][0]["commit"] == COMMIT
    hashes = record["models"][0]["sha256"]
    assert [*hashes] == [WEIGHTS] and fetching.sha256(needed(model()) / WEIGHTS)[:16] in str(hashes)
    assert (needed(pixel_source()).stat().st_size) == 3_000_000
    names = {name for name in hub.served if name.startswith(FIRST)}
    assert f"{FIRST}/{WEIGHTS}" in names
    assert not [
        name for name in names if "fp16" in name or name.endswith(("all.safetensors", "ckpt"))
    ]
    before = hub.served.copy()
    assert fetch_all("paper-rehearsal", file)["models"][0] == record["models"][0]
    assert hub.served == before


def test_without_the_hub_what_was_fetched_is_enough(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fetch_all("paper-rehearsal", tmp_path / "models.json")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch(offer(model())) == needed(model())
    assert fetch_all("paper-rehearsal", tmp_path / "models.json") == record


def test_the_second_place_is_taken_if_the_first_is_gone(hub: Hub) -> None:
    shutil.move(hub.folder / FIRST, hub.folder / SECOND)
    found = offer(model())
    assert found.place == SECOND and found.missing > 20_000
    assert fetch(found) == needed(model())


def test_the_environment_names_a_folder_or_another_id(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = hub.folder / FIRST
    monkeypatch.setenv("INVLIB_MODEL_PAPER", str(own))
    found = offer(model())
    assert (found.place, fetch(found), needed(model()), found.missing) == (str(own), own, own, 0)
    assert not hub.served
    monkeypatch.setenv("INVLIB_MODEL_PAPER", "someone/else")
    with pytest.raises(RuntimeError, match=r"someone/else: there is no such repository") as error:
        offer(model())
    assert "INVLIB_MODEL_PAPER" in sentence_of(error)
    with pytest.raises(FileNotFoundError, match="fetch it, or name its place"):
        needed(model())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (WEIGHTS, True),
        ("unet/diffusion_pytorch_model.fp16.safetensors", False),
        ("unet/diffusion_pytorch_model.bin", False),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", True),
        ("unet/diffusion_pytorch_model.safetensors.index.json", True),
        ("unet/model.fp16-00001-of-00002.safetensors", False),
        ("v2-1_512-ema-pruned.safetensors", False),
        ("vae_decoder/model.safetensors", False),
        ("tokenizer/merges.txt", True),
        ("text_encoder_3/spiece.model", True),
        ("model_index.json", True),
        ("README.md", False),
    ],
)
def test_single_precision_of_the_parts_is_all_that_is_needed(name: str, wanted: bool) -> None:
    assert is_needed(model(), name, {"unet/config.json", name}) == wanted


# --- faults


def test_a_truncated_file_is_noticed_and_fetched_again(hub: Hub) -> None:
    hub.faults[f"{FIRST}/{WEIGHTS}"] = "truncated"
    with pytest.raises(RuntimeError, match="it arrived incomplete: start again") as error:
        fetch(offer(model()))
    assert FIRST in sentence_of(error)
    hub.faults.clear()
    assert (fetch(offer(model())) / WEIGHTS).stat().st_size == 20_000


def test_a_line_that_breaks_once_is_taken_up_again(hub: Hub) -> None:
    hub.faults[f"{FIRST}/{WEIGHTS}"] = "interrupted"
    found = fetch(offer(model())) / WEIGHTS
    assert found.read_bytes() == (hub.folder / FIRST / WEIGHTS).read_bytes()
    assert hub.served[f"{FIRST}/{WEIGHTS}"] > 20_000 and not hub.faults


def test_a_file_with_another_hash_is_removed_and_fetched_again(hub: Hub) -> None:
    hub.faults[f"{FIRST}/{WEIGHTS}"] = "damaged"
    with pytest.raises(RuntimeError, match="is damaged: its SHA-256") as error:
        fetch(offer(model()))
    assert "start again" in sentence_of(error)
    hub.faults.clear()
    found = fetch(offer(model())) / WEIGHTS
    assert found.read_bytes() == (hub.folder / FIRST / WEIGHTS).read_bytes()


def test_no_access_says_how_to_get_it(hub: Hub) -> None:
    hub.faults[FIRST] = "refused"
    with pytest.raises(RuntimeError, match="accept its terms") as error:
        offer(model())
    assert FIRST in sentence_of(error)


def test_no_hub_names_every_place_that_was_tried(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match="the place cannot be reached") as error:
        offer(model())
    assert all(place in sentence_of(error) for place in model().places)


def test_a_disk_that_fills_up_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(RuntimeError, match="the disk is full: make room") as error:
        fetch(offer(model()))
    sentence_of(error)


def test_a_file_from_an_address_goes_on_where_it_ended(hub: Hub) -> None:
    source = pixel_source()
    hub.faults[PIXELS] = "interrupted"
    with pytest.raises(RuntimeError, match="it arrived incomplete") as error:
        fetch(offer(source))
    assert "goes on where it ended" in sentence_of(error)
    found = fetch(offer(source))
    assert found.read_bytes() == (hub.folder / PIXELS).read_bytes()
    assert hub.served[PIXELS] == 3_000_000
    hub.faults[PIXELS] = "missing"
    assert fetch(offer(source)) == found  # it is here


def part_of_pixels() -> Path:
    part = places.kept_file(str(os.environ["INVLIB_PIXEL_MODEL"])).with_suffix(".part")
    part.parent.mkdir(parents=True)
    return part


@pytest.mark.parametrize("size", [2_999_999, 3_000_000, 3_000_001])
def test_a_part_with_other_bytes_is_never_taken(hub: Hub, size: int) -> None:
    """One that is short enough to be ours is found out by its hash, a longer one begins anew."""
    part = part_of_pixels()
    part.write_bytes(bytes(size))
    if size < 3_000_000:
        with pytest.raises(RuntimeError, match="is damaged: its MD5 is not") as error:
            fetch(offer(pixel_source()))
        assert "start again" in sentence_of(error) and not part.exists()
    found = fetch(offer(pixel_source()))
    assert found.read_bytes() == (hub.folder / PIXELS).read_bytes() and not part.exists()


def test_two_runs_at_once_fetch_one_file_once(hub: Hub) -> None:
    part_of_pixels()
    offered = offer(pixel_source())
    with ThreadPoolExecutor(4) as pool:
        found = {*pool.map(lambda _: fetch(offered), range(4))}
    assert [path.read_bytes() for path in found] == [(hub.folder / PIXELS).read_bytes()]
    assert hub.served[PIXELS] == 3_000_000


def test_an_address_without_the_file_says_so(hub: Hub) -> None:
    hub.faults[PIXELS] = "missing"
    with pytest.raises(RuntimeError, match="the server answers 404") as error:
        offer(pixel_source())
    assert "INVLIB_PIXEL_MODEL" in sentence_of(error)


def test_random_weights_are_for_rehearsals_only(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="random: they are for profile paper-rehearsal"):
        fetch_all("paper", tmp_path / "models.json")
    (hub.folder / FIRST / RANDOM).unlink()
    found = offer(model())
    record = noted("paper-rehearsal", [(found, hub.folder / FIRST)])
    assert record["mark"] == "smallest counts: rehearsal"


def test_results_of_two_models_are_not_mixed(hub: Hub, tmp_path: Path) -> None:
    fetch_all("paper-rehearsal", tmp_path / "models.json")
    write(hub.folder / FIRST / WEIGHTS, os.urandom(20_000))
    shutil.rmtree(constants.HF_HUB_CACHE)
    with pytest.raises(RuntimeError, match="results of other weights: take another folder"):
        fetch_all("paper-rehearsal", tmp_path / "models.json")


def test_a_damaged_note_of_the_models_says_so(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    row = {"name": "m", "place": "here", "commit": "", "sha256": {"a": "1"}}
    record = {"models": [row], "mark": ""}
    fetching.keep(record, file)
    for damaged in (file.read_text()[:-5], "{}", "[]", '{"models": [1], "mark": ""}'):
        file.write_text(damaged)
        with pytest.raises(RuntimeError, match="is damaged and .*: remove it") as error:
            fetching.keep(record, file)
        sentence_of(error)
        assert file.read_text() == damaged
    file.unlink()
    fetching.keep(record, file)
    assert [*tmp_path.iterdir()] == [file] and json.loads(file.read_text()) == record


# --- before anything is fetched


def test_a_check_finds_all_that_is_needed_and_fetches_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = checking.check("paper-rehearsal")
    assert [o.source.kind for o in offers] == ["model", "dataset", "file"]
    assert sum(o.missing for o in offers) > 3_020_000
    assert not hub.served
    monkeypatch.setattr(checking.shutil, "disk_usage", lambda place: SimpleNamespace(free=10**6))
    with pytest.raises(RuntimeError, match=r"3.02 MB are to be fetched, .* set HF_HOME") as error:
        checking.check("paper-rehearsal")
    sentence_of(error)


def test_a_package_that_the_end_needs_is_missed_at_the_start(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = checking.find_spec
    monkeypatch.setattr(checking, "find_spec", lambda n: None if n == "datasets" else known(n))
    message = r"datasets cannot be imported: pip install 'invlib\[paper\]'"
    with pytest.raises(RuntimeError, match=message):
        checking.check("paper-rehearsal")
    assert not hub.served


def test_a_hub_that_does_not_answer_is_not_waited_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(checking, "SECONDS", 1.0)
        monkeypatch.setattr(fetching, "TIMEOUT", 0.5)
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="cannot be reached|no answer within") as error:
            checking.reached("paper")
        sentence_of(error)
    assert time.monotonic() - began < 10


def test_only_a_rehearsal_takes_the_cpu_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVLIB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    checking.check_device("paper-rehearsal")
    with pytest.raises(RuntimeError, match="needs a CUDA GPU"):
        checking.check_device("paper")
    monkeypatch.setenv("INVLIB_DEVICE", "cpu")
    checking.check_device("paper")


@pytest.mark.parametrize(("gigabytes", "warned"), [(15.8, True), (24.0, False)])
def test_a_small_gpu_is_warned_of_before_anything_is_fetched(
    gigabytes: float, warned: bool, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVLIB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = SimpleNamespace(total_memory=int(1e9 * gigabytes))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda where: card)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        checking.check_device("paper")
    texts = [str(each.message) for each in said]
    assert bool(texts) == warned
    assert all("this GPU has 15.8 GB" in text and "about 20 GB" in text for text in texts)
    assert not hub.served
