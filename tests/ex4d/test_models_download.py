# SPDX-License-Identifier: Apache-2.0
"""Fetching models, against a hub on this machine that huggingface_hub talks to as to the real one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from fake_hub import COMMIT, Hub, serve
from safetensors.torch import load_file

from ex4d.cli import main
from ex4d.models import fetch
from ex4d.models.download import download, plan
from ex4d.models.places import find_model, hub_cache, need_model
from ex4d.models.registry import MODELS, model_spec
from shared_protocol.errors import UNAVAILABLE, Ex4dError

WEIGHTS = bytes(range(256)) * 40
CONFIG = b'{"size": 1}'
DA3 = "depth-anything/DA3-BASE"
NEEDED = ("config.json", "model.safetensors")


def pickled() -> bytes:
    """A checkpoint as torch writes it."""
    written = io.BytesIO()
    torch.save({"weight": torch.arange(2500.0)}, written)
    return written.getvalue()


CHECKPOINT = pickled()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a few models, folders of the user's that are empty, and no waiting between tries."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "EX4D_MODELS", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(fetch, "_WAITS", (0, 0))
    files = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": b"not asked for"}
    large = {"video_depth_anything_vitl.pth": CHECKPOINT}
    with serve(Hub({DA3: files, "depth-anything/Video-Depth-Anything-Large": large})) as state:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", state.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield state


def run(*arguments: object) -> int:
    return main(["models", *(str(argument) for argument in arguments)])


def large_gets(hub: Hub) -> list[int]:
    """First bytes that were asked for, of the weights."""
    return [start for path, start in hub.fetched if path == "model.safetensors"]


def test_a_model_goes_into_the_hubs_cache_and_is_found_there_without_network(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_model("da3-base") is None
    assert run("download", "da3-base") == 0
    folder = tmp_path / "home" / "hub" / "models--depth-anything--DA3-BASE" / "snapshots" / COMMIT
    assert find_model("da3-base") == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "README.md").exists()
    record = json.loads((folder / "ex4d-da3-base.json").read_text())
    assert (record["repository"], record["revision"], record["whole"]) == (DA3, COMMIT, True)
    assert record["files"]["model.safetensors"] == {
        "size": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    assert record["files"]["config.json"]["sha256"] == hashlib.sha256(CONFIG).hexdigest()
    others = {"cache_dir": hub_cache(), "revision": COMMIT, "local_files_only": True}
    assert huggingface_hub.hf_hub_download(DA3, "model.safetensors", **others) == str(folder / "model.safetensors")
    hub.refuse = (500, "")
    capsys.readouterr()
    assert run("verify") == 0
    assert "2 files" in capsys.readouterr().out
    assert run("where", "da3-base") == 0
    assert capsys.readouterr().out.strip() == str(folder)
    assert run("download", "da3-base") == 0, "what is here needs no hub"
    assert "here already" in capsys.readouterr().out


def test_size_licence_and_free_disk_are_told_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ex4d.models.download.download", stop)
    assert run("download", "da3-base", "--local-dir", tmp_path / "models") == 130
    told = capsys.readouterr().out
    for words in (DA3, "Apache-2.0; commercial use allowed", "10 kB", str(tmp_path / "models" / "da3-base"), "free"):
        assert words in told, words
    assert hub.fetched == []


def test_a_local_folder_is_filled_and_is_found_by_its_variable(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    assert run("download", "da3-base", "--local-dir", models) == 0
    assert f"EX4D_MODELS={models}" in capsys.readouterr().out
    assert find_model("da3-base") is None
    assert find_model("da3-base", models) == models / "da3-base"
    monkeypatch.setenv("EX4D_MODELS", str(models))
    assert need_model("da3-base") == models / "da3-base"
    assert run("download", "vda-large", "--accept-licence") == 0, "the variable also says where downloads go"
    assert need_model("vda-large") == models / "vda-large" / "video_depth_anything_vitl.safetensors"


def test_an_interrupted_download_is_not_taken_for_the_model_and_goes_on_where_it_stopped(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, hub.budget = tmp_path / "models", 3000
    assert run("download", "da3-base", "--local-dir", models) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "cannot be reached" in line
    assert "what has arrived is kept" in line
    folder = models / "da3-base"
    assert (folder / "model.safetensors.part").stat().st_size == 3000
    assert not (folder / "model.safetensors").exists()
    assert find_model("da3-base", models) is None
    with pytest.raises(Ex4dError, match="lacks some of its files"):
        need_model("da3-base", models)
    hub.budget, hub.fetched = None, []
    assert run("download", "da3-base", "--local-dir", models) == 0
    assert "7 kB of it to fetch" in capsys.readouterr().out
    assert hub.fetched == [("model.safetensors", 3000)]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not list(folder.rglob("*.part"))
    assert find_model("da3-base", models) == folder


def test_a_process_that_is_killed_loses_no_byte(hub: Hub, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "EX4D_MODELS": str(tmp_path / "models"),
    }
    command = [sys.executable, "-c", "import sys; from ex4d.cli import main; sys.exit(main(sys.argv[1:]))"]
    command += ["models", "download", "da3-base"]
    part = tmp_path / "models" / "da3-base" / "model.safetensors.part"
    hub.stall_after = 5000
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (part.is_file() and part.stat().st_size == 5000):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    hub.stall_after, hub.fetched = None, []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert large_gets(hub) == [5000]
    assert part.with_suffix("").read_bytes() == WEIGHTS
    assert "100 % of" in done.stderr, "in a log, progress is lines"
    assert "\r" not in done.stderr


def test_connections_that_break_are_taken_up_again_in_the_same_run(hub: Hub, tmp_path: Path) -> None:
    hub.break_each = 4000
    assert run("download", "da3-base", "--local-dir", tmp_path) == 0
    assert large_gets(hub) == [0, 4000, 8000]
    assert (tmp_path / "da3-base" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_server_without_ranges_sends_all_again(hub: Hub, tmp_path: Path) -> None:
    hub.budget = 3000
    assert run("download", "da3-base", "--local-dir", tmp_path) == 2
    hub.budget, hub.ranges = None, False
    assert run("download", "da3-base", "--local-dir", tmp_path) == 0
    assert (tmp_path / "da3-base" / "model.safetensors").read_bytes() == WEIGHTS


def test_ctrl_c_keeps_what_has_arrived(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.break_each = 4000

    def impatient(count: int) -> None:
        if count == 4000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(plan(model_spec("da3-base"), tmp_path), impatient)
    assert (tmp_path / "da3-base" / "model.safetensors.part").stat().st_size == 4000
    assert find_model("da3-base", tmp_path) is None


def test_bytes_that_arrive_damaged_are_not_kept(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.damaged = {"model.safetensors"}
    assert run("download", "da3-base", "--local-dir", tmp_path) == 2
    assert "arrived damaged" in capsys.readouterr().err
    assert not list((tmp_path / "da3-base").glob("model.safetensors*"))
    assert find_model("da3-base", tmp_path) is None


def test_a_newer_commit_that_is_half_fetched_is_not_mixed_with_the_older(hub: Hub, tmp_path: Path) -> None:
    assert run("download", "da3-base", "--local-dir", tmp_path) == 0
    hub.commit = "f" * 40
    hub.repositories[DA3] |= {"config.json": b'{"size": 2}', "model.safetensors": WEIGHTS[::-1]}
    hub.budget = 3000
    item = plan(model_spec("da3-base"), tmp_path)
    assert [file.path for file in item.missing] == ["model.safetensors"]
    with pytest.raises(Ex4dError):
        download(item, lambda more: None)
    assert find_model("da3-base", tmp_path) is None
    hub.budget = None
    download(plan(model_spec("da3-base"), tmp_path), lambda more: None)
    folder = find_model("da3-base", tmp_path)
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS[::-1]
    assert (folder / "config.json").read_bytes() == b'{"size": 2}'


def test_verify_finds_what_is_damaged_and_repairs_that_alone(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("download", "da3-base") == 0
    folder = need_model("da3-base")
    file = folder / "model.safetensors"
    about = file.stat()
    file.write_bytes(b"x" + WEIGHTS[1:])
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))  # as a failing disk does it
    capsys.readouterr()
    assert run("verify", "da3-base") == 2
    told = capsys.readouterr()
    assert f"{file} is damaged: sha256" in told.out
    assert "verify --repair da3-base" in told.err
    hub.fetched = []
    assert run("verify", "--repair") == 0
    assert hub.fetched == [("model.safetensors", 0)]
    assert file.read_bytes() == WEIGHTS
    assert run("verify") == 0
    (folder / "config.json").unlink()
    assert find_model("da3-base") is None


def test_verify_repairs_nothing_without_network(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("download", "da3-base") == 0
    file = need_model("da3-base") / "model.safetensors"
    file.write_bytes(b"x" + WEIGHTS[1:])
    hub.refuse = (503, "")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    assert run("verify", "--repair") == 2
    assert file.exists()


def test_files_put_there_by_hand_are_verified_against_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "DA3-BASE"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"x")
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "models"))
    assert run("verify", "da3-base") == 2
    assert "model.safetensors is damaged" in capsys.readouterr().out
    assert run("verify", "da3-base", "--repair") == 0
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    hub.refuse = (500, "")
    assert run("verify", "da3-base") == 0, "from now on it is known without the hub"


def test_what_does_not_fit_is_refused_before_it_begins(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=500_000_000))
    assert run("download", "da3-base", "vda-large", "--local-dir", tmp_path / "models", "--accept-licence") == 2
    error = capsys.readouterr().err
    wanted = len(CONFIG) + len(WEIGHTS) + 2 * len(CHECKPOINT)  # which is rewritten as safetensors
    assert f"would take {wanted / 1e3:.0f} kB" in error
    assert "500 MB are free" in error
    assert "--local-dir" in error
    assert hub.fetched == []
    assert not (tmp_path / "models").exists()


def test_offline_is_one_clear_sentence(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "models"))
    assert run("download", "da3-base") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "HF_HUB_OFFLINE is set" in line
    assert "config.json, model.safetensors" in line
    assert f"https://huggingface.co/{DA3}" in line
    assert str(tmp_path / "models" / "da3-base") in line
    assert hub.fetched == []


def test_without_network_it_is_told_what_can_be_done(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    assert run("download", "da3-base") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: http://127.0.0.1:9 cannot be reached")
    assert "By hand: copy config.json, model.safetensors" in line


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "knows no repository depth-anything/DA3-BASE"),
        (404, "RevisionNotFound", "no revision main"),
        (401, "", "knows no repository depth-anything/DA3-BASE"),  # so the hub answers who is not known to it
        (403, "GatedRepo", "accepted its terms"),
        (403, "", "refused access"),
        (500, "", "status 500"),
    ],
)
def test_refusals_of_the_hub_are_told_apart(
    hub: Hub,
    status: int,
    code: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.refuse = (status, code)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    assert run("download", "da3-base") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert words in line


def test_a_repository_without_the_files_is_named(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repositories[DA3] = {"other.bin": b"1"}
    assert run("download", "da3-base") == 2
    error = capsys.readouterr().err
    assert DA3 in error
    assert "model.safetensors" in error


def test_a_licence_that_restricts_use_is_asked_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not MODELS["vda-large"].commercial_use
    assert run("download", "vda-large") == 2
    told = capsys.readouterr()
    assert "NOT free for commercial use" in told.out
    assert "CC BY-NC 4.0" in told.err
    assert "--accept-licence" in told.err
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert run("download", "vda-large") == 2
    assert hub.fetched == []
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    assert run("download", "vda-large") == 0
    assert find_model("vda-large") is not None


def test_the_checkpoint_is_rewritten_as_safetensors_once(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "written.ckpt"
    torch.save({"blocks.0.weight": torch.arange(6.0).reshape(2, 3)}, written)
    hub.repositories[MODELS["ex4d"].repository] = {"ex4d.ckpt": written.read_bytes()}
    assert run("download", "ex4d", "--local-dir", tmp_path / "models") == 0
    found = find_model("ex4d", tmp_path / "models")
    assert found == tmp_path / "models" / "ex4d" / "ex4d.safetensors"
    assert load_file(found)["blocks.0.weight"].shape == (2, 3)
    before = found.stat().st_mtime_ns
    assert run("download", "ex4d", "--local-dir", tmp_path / "models") == 0
    assert found.stat().st_mtime_ns == before
    (found.parent / "ex4d.ckpt").unlink()
    assert find_model("ex4d", tmp_path / "models") == found, "the pickle is needed no more"


def test_convert_takes_any_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "some.pth")
    assert run("convert", tmp_path / "some.pth", "--output", tmp_path / "other.safetensors") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "other.safetensors")
    assert load_file(tmp_path / "other.safetensors")["weight"].tolist() == [1.0, 1.0]
    assert run("convert", tmp_path / "gone.pth") == 2


def test_without_the_library_the_package_to_install_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ex4d.models.hub.importlib.util.find_spec", lambda name: None)
    assert run("download", "da3-base") == 2
    assert "pip install ex4d-blender[models]" in capsys.readouterr().err
    with pytest.raises(Ex4dError) as missing:
        plan(model_spec("da3-base"))
    assert missing.value.code == UNAVAILABLE
