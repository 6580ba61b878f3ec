"""What is found and read; test_checkpoints_hostile.py has what is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from nwslib.checkpoints import Rejected, UnreadableCheckpoint, find, read
from nwslib.checkpoints.folder import _decode, _encode
from nwslib.flatten import Layout

STATE = {  # sorted by name, as it is read
    "conv.bias": torch.tensor([0.5, -2.0]),
    "conv.weight": torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2),
    "norm.num_batches_tracked": torch.tensor(7),
}
ADAM = {"state": {0: {"exp_avg": torch.ones(99)}}, "param_groups": [{"lr": 0.1}]}
OTHER = {"w": torch.ones(50)}  # more weights than STATE


def same(one: dict, other: dict) -> bool:
    """Equal names in equal order, equal types and values."""
    return list(one) == list(other) and all(
        a.dtype == b.dtype and torch.equal(a, b)
        for a, b in zip(one.values(), other.values(), strict=True)
    )


def saved(state: object, file: Path, **options) -> Path:
    """``torch.save`` or ``save_file`` into folders that it makes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file, **options)
    return file


def repacked(file: Path, change=lambda name, data: data, packing=zipfile.ZIP_STORED):
    """Write an archive again, with other entries."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(name, data))
    return file


def sharded(folder: Path, parts: dict[str, dict], kind: str = "safetensors") -> Path:
    """A sharded checkpoint: shard's stem -> its tensors."""
    weight_map = {
        name: f"{stem}.{kind}" for stem, part in parts.items() for name in part
    }
    for stem, part in parts.items():
        saved(part, folder / f"{stem}.{kind}")
    index = folder / f"model.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


# --- find -------------------------------------------------------------------------


def test_find_lists_checkpoints_of_any_depth_and_name(tmp_path):
    names = [
        "a b.pt",
        "deep/er/still/x.pth",
        "deep/er/still/y.SAFETENSORS",
        "new\nline.ckpt",
        "z.bin",
        "zoë/权重 🙂.pt",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"anything")
    for other in ("a.npz", "b.npy", "pt", "notes.txt", "config.json", ".pt/x.py"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"anything")
    assert find(tmp_path) == (sorted(names), [])
    assert find(str(tmp_path)) == find(tmp_path)


def test_a_folder_named_like_a_checkpoint_is_a_folder(tmp_path):
    saved(STATE, tmp_path / "x.pt/inner.pt")
    assert find(tmp_path) == (["x.pt/inner.pt"], [])
    with pytest.raises(UnreadableCheckpoint, match="it is a folder, not a file: pass"):
        read(tmp_path, "x.pt")


def test_no_folder_and_no_folder_but_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*gone: pass the folder"):
        find(tmp_path / "gone")
    (tmp_path / "a.pt").touch()
    with pytest.raises(NotADirectoryError, match="a.pt is not a folder: pass the fold"):
        find(tmp_path / "a.pt")
    with pytest.raises(UnreadableCheckpoint, match="it is not there, or is a link to"):
        read(tmp_path / "gone", "a.pt")


def test_pipes_and_sockets_are_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.pt")  # opening it would wait for ever
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.safetensors")
        reason = "it is a pipe, socket or device, not a file: pass a file."
        assert find(tmp_path) == (
            [],
            [Rejected("pipe.pt", reason), Rejected("socket.safetensors", reason)],
        )
        with pytest.raises(UnreadableCheckpoint, match=reason):
            read(tmp_path, "pipe.pt")


def test_a_link_within_the_folder_adds_nothing(tmp_path):
    saved(STATE, tmp_path / "runs/a.pt")
    (tmp_path / "best.pt").symlink_to("runs/a.pt")
    (tmp_path / "zz.pt").symlink_to(tmp_path / "best.pt")
    (tmp_path / "latest").symlink_to("runs", target_is_directory=True)
    (tmp_path / "runs/self").symlink_to(".", target_is_directory=True)  # a circle
    assert find(tmp_path) == (["runs/a.pt"], [])
    assert same(read(tmp_path, "best.pt"), STATE)
    assert find(tmp_path / "latest") == (["a.pt"], [])  # the folder may be a link


def test_a_link_to_a_file_without_suffix_is_listed_once(tmp_path):
    (tmp_path / "blobs").mkdir()
    saved(STATE, tmp_path / "x.pt").rename(tmp_path / "blobs/0f3a")
    for name in ("b.pt", "a.pt"):
        (tmp_path / name).symlink_to("blobs/0f3a")
    assert find(tmp_path) == (["a.pt"], [])
    assert same(read(tmp_path, "a.pt"), STATE)


def test_links_out_of_the_folder_are_rejected(tmp_path):
    saved(STATE, tmp_path / "outside/secret.pt")
    folder = tmp_path / "folder"
    saved(STATE, folder / "ok.pt")
    (folder / "out.pt").symlink_to(tmp_path / "outside/secret.pt")
    (folder / "sub").mkdir()
    (folder / "sub/up.pth").symlink_to("../../outside/secret.pt")
    (folder / "data").symlink_to(tmp_path / "outside", target_is_directory=True)
    (folder / "zero.pt").symlink_to("/dev/zero")
    (folder / "readme.txt").symlink_to(tmp_path / "outside/secret.pt")  # no checkpoint
    reason = (
        "it lies outside the folder or is a link that leads there: copy the file "
        "itself into the folder."
    )
    paths, rejected = find(folder)
    assert paths == ["ok.pt"]
    assert rejected == [
        Rejected(path, reason) for path in ("data", "out.pt", "sub/up.pth", "zero.pt")
    ]
    outside = str(tmp_path / "outside/secret.pt")
    for path in ("out.pt", "data/secret.pt", "../outside/secret.pt", outside):
        with pytest.raises(UnreadableCheckpoint, match="it lies outside the folder"):
            read(folder, path)


def test_links_to_nothing_and_in_circles_end(tmp_path):
    (tmp_path / "gone.pt").symlink_to("nowhere.pt")
    (tmp_path / "a.pt").symlink_to("b.pt")
    (tmp_path / "b.pt").symlink_to("a.pt")
    (tmp_path / "notes").symlink_to("nowhere")
    circle = "it is a link in a circle: copy the file itself."
    assert find(tmp_path) == (
        [],
        [
            Rejected("a.pt", circle),
            Rejected("b.pt", circle),
            Rejected(
                "gone.pt", "it is not there, or is a link to nothing: copy it again."
            ),
        ],
    )


def test_a_folder_that_cannot_be_listed_does_not_stop_the_rest(tmp_path, monkeypatch):
    saved(STATE, tmp_path / "shut/a.pt")
    saved(STATE, tmp_path / "open/b.pt")
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    reason = "it cannot be opened (Permission denied): give access to it."
    assert find(tmp_path) == (["open/b.pt"], [Rejected("shut", reason)])


@pytest.mark.skipif(sys.platform != "linux", reason="others take no such names")
def test_names_that_are_no_unicode_are_told_apart_and_found_again(tmp_path):
    folder = os.fsencode(tmp_path)
    names = [
        b"a\xff.pt",
        b"a\xfe.pt",
        rb"a\udcff.pt",
        rb"a\b.safetensors",
        b"\xff/q.pt",
    ]
    names += [b"w\xff.safetensors"]
    for k, name in enumerate(names):
        state = {"w": torch.full((2,), float(k))}
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        plain = saved(state, tmp_path / f"plain{Path(os.fsdecode(name)).suffix}")
        os.rename(plain, os.path.join(folder, name))
    paths, rejected = find(tmp_path)
    assert rejected == []
    assert r"a\udcff.pt" in paths and r"a\\udcff.pt" in paths
    assert len(set(paths)) == len(names)
    assert json.loads(json.dumps(paths, ensure_ascii=False).encode()) == paths
    values = {read(tmp_path, path)["w"][0].item() for path in paths}
    assert values == set(range(len(names)))


@given(st.lists(st.binary(max_size=12), min_size=2, max_size=2, unique=True))
def test_the_names_for_json_are_one_to_one(raw):
    one, other = map(os.fsdecode, raw)
    assert _encode(one) != _encode(other)
    assert _decode(_encode(one)) == one
    _encode(one).encode("utf-8")  # no surrogates are left


# --- shards -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_one_checkpoint(tmp_path, kind):
    first, second = {"a.weight": torch.ones(2, 2)}, {"b.weight": torch.zeros(3)}
    sharded(tmp_path / "hf", {"m-1-of-2": second, "m-2-of-2": first}, kind)
    saved(STATE, tmp_path / "hf/other.pt")
    index = f"hf/model.{kind}.index.json"
    assert find(tmp_path) == ([index, "hf/other.pt"], [])
    assert same(read(tmp_path, index), first | second)


def test_wrappers_of_all_shards_together_are_taken_off(tmp_path):
    parts = {"x": {"module.a": torch.ones(1)}, "y": {"module.b": torch.ones(1)}}
    sharded(tmp_path, parts)
    assert list(read(tmp_path, "model.safetensors.index.json")) == ["a", "b"]
    parts["y"] = {"z": torch.ones(1)}  # not all
    sharded(tmp_path, parts)
    assert list(read(tmp_path, "model.safetensors.index.json")) == ["module.a", "z"]


def test_the_folder_of_a_training_run_with_hugging_face(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    saved(STATE, tmp_path / "model.safetensors")
    saved(ADAM, tmp_path / "optimizer.pt")
    saved({"arguments": Path("x")}, tmp_path / "training_args.bin")
    paths, rejected = find(tmp_path)
    assert paths == ["model.safetensors", "optimizer.pt", "training_args.bin"]
    assert rejected == []
    assert same(read(tmp_path, "model.safetensors"), STATE)
    with pytest.raises(UnreadableCheckpoint, match="it holds no weights"):
        read(tmp_path, "optimizer.pt")
    with pytest.raises(UnreadableCheckpoint, match="wants 'pathlib.*Path', which is m"):
        read(tmp_path, "training_args.bin")


def test_two_revisions_in_the_cache_of_hugging_face(tmp_path):
    # Blobs without suffix, links beside each other; both revisions have one index.
    for revision, value in (("r1", 1.0), ("r2", 2.0)):
        folder = tmp_path / "snapshots" / revision
        index = sharded(folder, {"m-1": {"a": torch.full((2,), value)}})
        for file, blob in ((folder / "m-1.safetensors", revision), (index, "index")):
            (tmp_path / "blobs").mkdir(exist_ok=True)
            shutil.move(file, tmp_path / "blobs" / blob)
            file.symlink_to(f"../../blobs/{blob}")
    paths = [f"snapshots/{r}/model.safetensors.index.json" for r in ("r1", "r2")]
    assert find(tmp_path) == (paths, [])
    assert [read(tmp_path, path)["a"][0].item() for path in paths] == [1, 2]


# --- read: formats ----------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix, options",
    [
        (".pt", {}),
        (".ckpt", {"pickle_protocol": 3}),  # torch warns of it
        (".pth", {"_use_new_zipfile_serialization": False}),
        (".bin", {"_use_new_zipfile_serialization": False, "pickle_protocol": 3}),
        (".safetensors", {}),
    ],
)
def test_each_format_gives_the_same_and_warns_of_nothing(tmp_path, suffix, options):
    saved(STATE, tmp_path / f"a{suffix}", **options)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert same(read(tmp_path, f"a{suffix}"), STATE)
    assert warned == []


def test_an_archive_packed_again_or_without_checksums_is_read(tmp_path):
    repacked(saved(STATE, tmp_path / "a.pt"), packing=zipfile.ZIP_DEFLATED)
    assert same(read(tmp_path, "a.pt"), STATE)
    torch.serialization.set_crc32_options(False)
    try:
        saved(STATE, tmp_path / "b.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read(tmp_path, "b.pt"), STATE)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_saved_on_a_gpu_opens_without_one(tmp_path, zipped):
    file = saved(STATE, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    cpu, gpu = b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"  # the storages' location
    if zipped:
        repacked(file, lambda _, data: data.replace(cpu, gpu))
    else:
        file.write_bytes(file.read_bytes().replace(cpu, gpu))
    assert file.read_bytes().count(gpu) == 1  # memoised after the first
    state = read(tmp_path, "a.pt")
    assert same(state, STATE)
    assert all(tensor.device.type == "cpu" for tensor in state.values())


def test_what_is_read_no_longer_depends_on_the_file(tmp_path):
    for name in ("a.pt", "a.safetensors"):
        file = saved(STATE, tmp_path / name)
        state = read(tmp_path, name)
        file.write_bytes(b"\xff" * file.stat().st_size)  # in place, as trainings do
        assert same(state, STATE)


READ_AND_MEASURE = """
import sys
from pathlib import Path
from nwslib.checkpoints import read

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(field)).split()[1]) * 1024

folder, *names = sys.argv[1:]
for name in names:
    read(folder, f"warm{name}")
    Path("/proc/self/clear_refs").write_text("5")  # peak := present
    before = memory("VmRSS")
    state = read(folder, name)
    print(memory("VmHWM") - before)
    del state
"""


def test_reading_takes_twice_the_file_s_size(tmp_path):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from /proc")
    weights = {f"{k}.weight": torch.ones(2**20) for k in range(12)}
    formats = {
        "a.pt": {},
        "b.pt": {"_use_new_zipfile_serialization": False},
        "a.safetensors": {},
    }
    sizes = []
    for name, options in formats.items():
        saved(STATE, tmp_path / f"warm{name}")
        sizes.append(saved(weights, tmp_path / name, **options).stat().st_size)
    # A process of its own that gives back what it frees: memory that lies ready from
    # earlier would not show.
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, tmp_path, *formats],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for size, taken in zip(sizes, map(int, done.stdout.split()), strict=True):
        assert 0.5 * size < taken < 2.2 * size


# --- read: which tensors ----------------------------------------------------------


@pytest.mark.parametrize(
    "around",
    [
        STATE,
        OrderedDict(STATE),
        STATE | {"epoch": 3, "arch": "A2", "best": 0.9, "nothing": None, 5: "five"},
        {"state_dict": STATE, "ema": OTHER, "epoch": 3},
        {"model_state_dict": STATE, "optimizer_state_dict": ADAM, "loss": 0.1},
        {"model": STATE, "losses": torch.ones(999), "accuracies": torch.ones(999)},
        {"net": STATE, "rng": torch.ones(5), "milestones": Counter([3, 4])},
        {"state_dict": {"model": {"module": STATE}}},
        {"my_own_key": STATE, "optim": ADAM, "args": {"lr": 0.1, "names": ["a"]}},
        {"my_own_key": STATE, "solver": ADAM, "lr_schedulers": [{"w": torch.ones(9)}]},
        {"small": {"w": torch.ones(2)}, "large": STATE, "scheduler": OTHER},
        {"optimizer": {"model": OTHER}, "ema": STATE},
        {"weights": STATE, "exp_avg": {"w": torch.ones(99)}},
        {"model": {}, "module": {"epoch": torch.tensor(3)}, "net": STATE},
    ],
)
def test_the_state_dict_is_found_wherever_it_lies(tmp_path, around):
    saved(around, tmp_path / "a.pt")
    assert same(read(tmp_path, "a.pt"), STATE)


def test_a_checkpoint_that_holds_itself_is_read(tmp_path):
    around = {"again": {}, "model": {"w": torch.ones(2)}}
    around["again"]["again"] = around["model"]["model"] = around
    saved(around, tmp_path / "a.pt")
    assert list(read(tmp_path, "a.pt")) == ["w"]


@pytest.mark.parametrize(
    "before, after",
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["_orig_mod.a", "_orig_mod.b"], ["a", "b"]),
        (["module._orig_mod.a", "module._orig_mod.module.b"], ["a", "module.b"]),
        (["module.a", "z"], ["module.a", "z"]),
        (["modules.a"], ["modules.a"]),
        (["module.module."], ["module."]),
    ],
)
def test_a_prefix_of_all_names_is_taken_off(tmp_path, before, after):
    saved({name: torch.ones(1) for name in before}, tmp_path / "a.pt")
    assert list(read(tmp_path, "a.pt")) == after


def test_wrapped_nets_have_the_layout_of_the_net_itself(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    saved(net.state_dict(), tmp_path / "a.pt")
    saved(nn.DataParallel(net).state_dict(), tmp_path / "b.pt")
    compiled = {f"_orig_mod.{name}": t for name, t in net.state_dict().items()}
    saved({"model": compiled, "epoch": 3}, tmp_path / "c.pt")
    saved(dict(reversed(net.state_dict().items())), tmp_path / "d.pth")
    saved(net.half().float().state_dict(), tmp_path / "e.safetensors")
    layouts = {Layout.of(read(tmp_path, path)) for path in find(tmp_path)[0]}
    assert len(layouts) == 1
    assert layouts.pop().size == Layout.of(net).size


# --- read: which values -----------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_types_are_kept(tmp_path, suffix):
    state = {
        str(dtype): torch.arange(4).to(dtype)
        for dtype in (
            torch.float64,
            torch.float16,
            torch.bfloat16,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.int64,
            torch.int8,
            torch.uint8,
            torch.bool,
        )
    }
    saved(state, tmp_path / f"a{suffix}")
    read_back = read(tmp_path, f"a{suffix}")
    assert {name: t.dtype for name, t in read_back.items()} == {
        name: t.dtype for name, t in state.items()
    }
    for name, tensor in read_back.items():
        assert torch.equal(tensor.double(), state[name].double())


def test_parameters_and_attributes_become_plain_tensors(tmp_path):
    weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    weight.note = "from the file"
    state = {"w": weight, "t": weight.detach().t(), "s": torch.tensor(2.0)}
    saved(state, tmp_path / "a.pt")
    for name, tensor in read(tmp_path, "a.pt").items():
        assert type(tensor) is torch.Tensor
        assert not tensor.requires_grad and tensor.is_contiguous()
        assert not hasattr(tensor, "note")
        assert torch.equal(tensor, state[name].detach())


@pytest.mark.parametrize("zipped", [True, False])
def test_tied_weights_stay_under_both_names_and_take_memory_once(tmp_path, zipped):
    embedding = torch.arange(8.0).reshape(4, 2)
    state = {"embed": embedding, "head": embedding, "view": embedding.t()}
    saved(state, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    tied = read(tmp_path, "a.pt")
    assert same(tied, state)
    assert tied["embed"].data_ptr() == tied["head"].data_ptr()
    assert tied["embed"].data_ptr() != tied["view"].data_ptr()
    # The same architecture as a copy in which nothing is tied any more.
    saved({name: t.half() for name, t in state.items()}, tmp_path / "b.pt")
    assert list(read(tmp_path, "b.pt")) == list(tied)


def test_small_expanded_tensors_are_read(tmp_path):
    saved({"w": torch.tensor([1.0, 2.0]).expand(5, 2)}, tmp_path / "a.pt")
    assert torch.equal(
        read(tmp_path, "a.pt")["w"], torch.tensor([1.0, 2.0]).repeat(5, 1)
    )


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")  # deprecated, not gone
@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated")
def test_quantised_tensors_become_numbers(tmp_path):
    weight = torch.tensor([[-1.0, 0.26], [0.5, 1.0]])
    by_tensor = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    by_channel = torch.quantize_per_channel(
        weight, torch.tensor([0.1, 0.25]), torch.tensor([0, 1]), 0, torch.qint8
    )
    bias = nn.Parameter(torch.ones(2))
    state = {
        "one.weight": by_tensor,
        "two.weight": by_channel,
        # As quantised linear layers keep theirs.
        "three.scale": torch.tensor(0.5),
        "three.zero_point": torch.tensor(3),
        "three._packed_params.dtype": torch.qint8,
        "three._packed_params._packed_params": (by_tensor, bias),
        "four._packed_params._packed_params": (by_channel, None),
        "five.scale": torch.ones(2),  # a layer's own
    }
    saved(state, tmp_path / "a.pt")
    expected = torch.tensor([[-1.0, 0.3], [0.5, 1.0]])
    numbers = read(tmp_path, "a.pt")
    assert list(numbers) == [
        *("five.scale", "four.weight", "one.weight"),
        *("three.bias", "three.weight", "two.weight"),
    ]
    torch.testing.assert_close(numbers["one.weight"], expected)
    torch.testing.assert_close(numbers["three.weight"], expected)
    torch.testing.assert_close(
        numbers["two.weight"], torch.tensor([[-1.0, 0.3], [0.5, 1.0]])
    )
    assert torch.equal(numbers["three.bias"], bias.detach())


@pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|BSR|BSC) tensor support")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors_become_dense(tmp_path, layout):
    weight = torch.tensor([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    block = ((2, 1),) if layout.startswith("bs") else ()
    name = "to_sparse" if layout == "coo" else f"to_sparse_{layout}"
    saved({"w": getattr(weight, name)(*block)}, tmp_path / "a.pt")
    assert same(read(tmp_path, "a.pt"), {"w": weight})


def test_sparse_entries_at_one_place_are_added(tmp_path):
    twice = torch.sparse_coo_tensor([[1, 1]], [2.0, 3.0], (4,), check_invariants=True)
    saved({"w": twice}, tmp_path / "a.pt")
    assert read(tmp_path, "a.pt")["w"].tolist() == [0, 5, 0, 0]


# --- damage -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix, options",
    [
        (".pt", {}),
        (".pth", {"_use_new_zipfile_serialization": False}),
        (".safetensors", {}),
    ],
)
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_damage_gives_finite_weights_or_one_sentence(tmp_path, suffix, options, harm):
    file = saved(STATE, tmp_path / f"a{suffix}", **options)
    intact, draw = file.read_bytes(), random.Random(0)
    outcomes = Counter()
    for _ in range(100):
        damaged = bytearray(intact)
        place = draw.randrange(len(intact))
        if harm == "flip":
            damaged[place] ^= 1 << draw.randrange(8)
        else:
            del damaged[place:]
        file.write_bytes(damaged)
        try:
            state = read(tmp_path, file.name)
        except UnreadableCheckpoint as error:
            assert error.reason.isprintable() and len(error.reason) < 300
            outcomes["refused"] += 1
        else:
            assert all(t.isfinite().all() for t in state.values())
            outcomes["read"] += 1
    assert outcomes["refused"]
    if harm == "cut":
        assert outcomes["read"] == 0
