"""Files that are refused: each with its sentence, and without harm."""

from __future__ import annotations

import _codecs
import contextlib
import io
import json
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from test_checkpoints import ADAM, STATE, repacked, saved, sharded
from torch import _utils, nn

from nwslib.checkpoints import Rejected, UnreadableCheckpoint, find, formats, read
from nwslib.checkpoints import shards as shards_module


def reason(folder: Path, path: str = "a.pt") -> str:
    """Why a checkpoint is refused."""
    with pytest.raises(UnreadableCheckpoint) as caught:
        read(folder, path)
    error = caught.value
    assert str(error) == f"cannot read checkpoint {path!r}: {error.reason}"
    assert error.path == path
    assert error.reason.isprintable() and error.reason.endswith(".")
    return error.reason


class Call:
    """Pickles into a call that the reader is to make, then perhaps a state to set."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) + ((state,) if state is not None else ())

    def __reduce__(self):
        return self.reduced


class Storage(tuple):
    """Pickles into a reference to the bytes of a storage."""


def storage(kind=torch.FloatStorage, n=3, key="0") -> Storage:
    return Storage(("storage", kind, key, "cpu", n))


def view(size, stride=None, of=None) -> Call:
    stride = tuple(1 for _ in size) if stride is None else stride
    of = storage() if of is None else of
    return Call(_utils._rebuild_tensor_v2, of, 0, size, stride, False, OrderedDict())


def crafted(content: object, file: Path, packing=zipfile.ZIP_STORED) -> Path:
    """An archive with a storage of 12 bytes and any pickle."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, entry):
            return tuple(entry) if type(entry) is Storage else None

    pickled = io.BytesIO()
    if isinstance(content, bytes):
        pickled.write(content)
    else:
        Pickler(pickled, 2).dump(content)
    saved({"w": torch.ones(3)}, file)
    return repacked(
        file,
        lambda name, data: pickled.getvalue() if name.endswith("data.pkl") else data,
        packing,
    )


# --- no code runs -----------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_pickle_that_would_run_code_does_not(tmp_path, zipped, nested):
    mark = tmp_path / "ran"
    for function, arguments, name in (
        (os.system, (f"touch {mark}",), f"{os.system.__module__}.system"),
        (exec, (f"open({str(mark)!r}, 'w')",), "exec"),
        (Path.touch, (mark,), "getattr"),
    ):
        bomb = Call(function, *arguments)
        saved(
            {"w": torch.ones(3), "state": bomb} if nested else bomb,
            tmp_path / "a.pt",
            _use_new_zipfile_serialization=zipped,
        )
        assert reason(tmp_path) == (
            f"its pickle wants '{name}', which is more than weights: save "
            "model.state_dict() alone."
        )
        assert not mark.exists()


@pytest.mark.parametrize(
    "content, wanted",
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"w": torch.ones(3), "a": np.ones(2)}, "numpy._core.multiarray._reconstruct"),
        ({"w": np.array([None, "x"])}, "numpy._core.multiarray._reconstruct"),
        ({"w": torch.ones(3), "best": np.float64(1)}, "numpy._core.multiarray.scalar"),
        ({"w": torch.ones(3), "log": b"\xff\x00"}, "_codecs.encode"),
    ],
)
def test_what_is_more_than_weights_is_named(tmp_path, content, wanted):
    saved(content, tmp_path / "a.pt")
    assert f"its pickle wants '{wanted}', which is more than" in reason(tmp_path)


def test_instructions_that_torch_does_not_know_are_refused(tmp_path):
    saved({"w": torch.ones(3)}, tmp_path / "a.pt", pickle_protocol=4)
    assert reason(tmp_path) == (
        "its pickle is damaged or holds more than weights (Unsupported operand 149): "
        "save model.state_dict() alone."
    )


def test_no_type_is_made_known_to_torch(tmp_path):
    before = torch.serialization.get_safe_globals()
    saved(nn.Linear(2, 2), tmp_path / "a.pt")
    reason(tmp_path)
    assert torch.serialization.get_safe_globals() == before


# --- the process survives ---------------------------------------------------------


def test_pickles_that_fill_the_memory_are_not_carried_out(tmp_path):
    crafted({"w": view((3,)), "x": Call(bytearray, 10**13)}, tmp_path / "a.pt")
    assert "wants '__builtin__.bytearray', which is" in reason(tmp_path)
    hexed = Call(_codecs.encode, "ab", "latin1")
    for _ in range(60):  # each doubles it
        hexed = Call(_codecs.encode, hexed, "hex_codec")
    crafted({"w": view((3,)), "x": hexed}, tmp_path / "a.pt")
    assert "wants '_codecs.encode', which is" in reason(tmp_path)


@pytest.mark.parametrize("length", [101, 1_000_000])
def test_tuples_in_tuples_do_not_overflow_the_stack(tmp_path, length):
    # {((((...)))): 1}: hashing it ends the process where it is long enough.
    crafted(b"\x80\x02})" + b"\x85" * length + b"K\x01s.", tmp_path / "a.pt")
    assert reason(tmp_path) == (
        "its pickle nests tuples without end: save model.state_dict() alone."
    )
    # The same in steps, by way of the memo: q\1 stores, h\1 fetches.
    step = b"h\x01\x85q\x01" + b"0"
    crafted(
        b"\x80\x02})q\x01" + b"0" + step * length + b"h\x01K\x01s.", tmp_path / "a.pt"
    )
    assert "nests tuples without end" in reason(tmp_path)


def test_what_claims_more_than_the_file_holds_is_refused(tmp_path):
    too_much = "more than a file of this size holds: save it again, without expanded"
    for shape, stride in (((10**12,), (0,)), ((10**6, 10**6), (0, 0))):
        crafted({"w": view(shape, stride)}, tmp_path / "a.pt")
        assert too_much in reason(tmp_path)
    # Each is small enough, all are not.
    many = {str(k): view((10**5,), (0,)) for k in range(100)}
    crafted(many, tmp_path / "a.pt")
    assert too_much in reason(tmp_path)
    empty = torch.sparse_coo_tensor(
        *(torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), (10**7, 10**9)),
        check_invariants=True,
    )
    saved({"w": empty}, tmp_path / "a.pt")
    assert too_much in reason(tmp_path)
    # Beyond what torch counts.
    crafted({"w": view((2**62, 2**62), (0, 0))}, tmp_path / "a.pt")
    assert reason(tmp_path).startswith("it is damaged (RuntimeError: ")


def test_views_beyond_their_storage_are_refused(tmp_path):
    for size, of in (
        ((10**9,), storage()),
        ((10**9,), storage(n=10**9)),
        ((-1,), storage()),
    ):
        crafted({"w": view(size, of=of)}, tmp_path / "a.pt")
        assert reason(tmp_path).startswith("it is damaged (")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    file = saved({"w": torch.zeros(2**22)}, tmp_path / "a.pt")
    repacked(file, packing=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 2**15
    assert reason(tmp_path).startswith("its archive claims to unpack to over 1,")


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated")
def test_scales_of_quantised_tensors_are_checked(tmp_path):
    codes = storage(torch.QInt8Storage, 12)

    def by_channel(n, scales):
        schema = (torch.per_channel_affine, scales, [0] * 3, 0)
        return Call(
            *(_utils._rebuild_qtensor, codes, 0, (n,), (1,), schema),
            *(False, OrderedDict()),
            state=(codes, 0, (12,), (1,)),  # torch sets it: 12 codes, 3 scales
        )

    crafted({"w": by_channel(3, [0.1, 0.2, 0.3])}, tmp_path / "a.pt")
    assert reason(tmp_path) == ("layer 'w' has not one scale a channel: save it again.")
    crafted({"w": by_channel(10**10, view((10**10,), (0,)))}, tmp_path / "a.pt")
    assert "it holds a number too large for a shape: save" in reason(tmp_path)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_indices_of_sparse_tensors_are_checked(tmp_path):
    outside = "layer 'w' has indices outside of its shape: save it dense."
    wild = torch.sparse_coo_tensor([[10**9]], [1.0], (4,), check_invariants=False)
    saved({"w": wild}, tmp_path / "a.pt")
    assert reason(tmp_path) == outside
    wild = torch.sparse_csr_tensor(
        [0, 10**9], [0], [1.0], (1, 4), check_invariants=False
    )
    saved({"w": wild}, tmp_path / "a.pt")
    assert reason(tmp_path) == outside


# --- no weights -------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {},
        ADAM,
        {"optimizer_state_dict": ADAM, "epoch": 3},
        {"solver": {"state": {}, "param_groups": [], "w": torch.ones(3)}},
        {"optimizer": {"w": torch.ones(3)}, "lr": 0.1},
        {"exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)},
        {"epoch": torch.tensor(3), "seen": torch.ones(3, dtype=torch.bool)},
        {"w": torch.ones(0)},
        {0: torch.ones(3)},
        {"model": [torch.ones(3)]},
    ],
)
def test_a_file_without_weights_says_so(tmp_path, content):
    saved(content, tmp_path / "a.pt")
    assert reason(tmp_path) == (
        "it holds no weights, which are floating-point tensors with names outside of "
        "an optimizer's state: save model.state_dict()."
    )


@pytest.mark.parametrize(
    "content, kind", [([torch.ones(3)], "list"), (torch.ones(3), "Tensor"), (3, "int")]
)
def test_a_file_that_holds_no_dict_says_what_it_holds(tmp_path, content, kind):
    saved(content, tmp_path / "a.pt")
    assert (
        reason(tmp_path)
        == f"it holds a {kind}, no state_dict: save model.state_dict()."
    )


# --- values -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16]
)
def test_weights_that_are_not_finite_are_refused(tmp_path, suffix, value, dtype):
    last = torch.ones(2, 3, dtype=dtype)
    last[1, 2] = value
    saved({"a": torch.ones(3), "b.weight": last}, tmp_path / f"a{suffix}")
    assert reason(tmp_path, f"a{suffix}") == (
        "layer 'b.weight' holds values that are not finite (NaN or infinite): use an "
        "earlier checkpoint of that run."
    )


def test_a_float8_nan_and_one_far_back_are_found(tmp_path):
    eight = torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)
    saved({"w": eight}, tmp_path / "a.pt")
    assert "not finite" in reason(tmp_path)
    long = torch.zeros(2**22 + 5)
    long[-1] = float("inf")
    saved({"w": long}, tmp_path / "a.pt")
    assert "not finite" in reason(tmp_path)
    saved({"w": torch.tensor([torch.finfo().max] * 9)}, tmp_path / "a.pt")
    assert len(read(tmp_path, "a.pt")["w"]) == 9  # large is not infinite


def test_tensors_that_are_no_dense_real_numbers_are_refused(tmp_path):
    cases = (
        (torch.ones(2, dtype=torch.complex64), "is complex: save real and imaginary"),
        (torch.ones(2, device="meta"), "holds no values (device meta): save them."),
        (
            torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
            "has type torch.float4_e2m1fn_x2, which torch cannot convert: save it in",
        ),
    )
    for tensor, sentence in cases:
        saved({"a": torch.ones(3), "w": tensor}, tmp_path / "a.pt")
        assert reason(tmp_path).startswith(f"layer 'w' {sentence}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype, says torch
        nested = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])
        saved({"a": torch.ones(3), "w": nested}, tmp_path / "a.pt")
    assert reason(tmp_path) == "layer 'w' is a nested tensor: save a plain one."


def test_foreign_text_is_cut_and_escaped(tmp_path):
    name = "a\nb\x1b[31m" + "x" * 1000
    saved({name: torch.tensor([float("nan")])}, tmp_path / "a.pt")
    assert reason(tmp_path).startswith(r"layer 'a\nb\x1b[31mxxx")
    assert len(reason(tmp_path)) < 250


# --- damaged files ----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth", ".safetensors"])
def test_an_empty_file_is_refused(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    assert (
        reason(tmp_path, f"a{suffix}")
        == "it is empty (0 bytes): copy or save it again."
    )


def test_files_of_another_kind_are_refused(tmp_path):
    no_torch = "it is no file that torch.save wrote: pass a state_dict saved with"
    for content in (b"PK", b"hello", b"\x80", b"\0" * 4096):
        (tmp_path / "a.pt").write_bytes(content)
        assert no_torch in reason(tmp_path)
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"w": [1.0]}))
    assert no_torch in reason(tmp_path)
    with open(tmp_path / "a.pt", "wb") as file:
        np.savez(file, w=np.ones(3))
    assert reason(tmp_path) == "it is an archive that torch.save did not write."
    (tmp_path / "a.pt").write_bytes(save({"w": torch.ones(3)}))
    assert no_torch in reason(tmp_path)
    saved({"w": torch.ones(3)}, tmp_path / "a.pt").rename(tmp_path / "a.safetensors")
    assert "no intact safetensors file" in reason(tmp_path, "a.safetensors")


def test_a_program_is_not_run(tmp_path):
    file = saved({"w": torch.ones(3)}, tmp_path / "a.pt")
    with zipfile.ZipFile(file, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/constants.pkl", b"\x80\x02).")  # as torch.jit.save
    assert reason(tmp_path).startswith("it is a TorchScript program, not a state_dict")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_entries_of_one_name_is_refused(tmp_path):
    file = saved({"w": torch.ones(3)}, tmp_path / "a.pt")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(archive.namelist()[0], b"\x80\x02).")
    assert reason(tmp_path).startswith("its archive holds two entries of one name")


def test_truncated_files_are_refused(tmp_path):
    for suffix, options, sentence in (
        (".pt", {}, "it is damaged (BadZipFile: File is not a zip file): copy or sa"),
        (".pth", {"_use_new_zipfile_serialization": False}, "it is damaged (Runtime"),
        (".safetensors", {}, "it is no intact safetensors file (Error while deseria"),
    ):
        file = saved(STATE, tmp_path / f"a{suffix}", **options)
        file.write_bytes(file.read_bytes()[:-40])
        assert reason(tmp_path, file.name).startswith(sentence)
    legacy = saved(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    legacy.write_bytes(legacy.read_bytes()[:200])  # within the pickles
    assert reason(tmp_path, "a.pth").startswith("it is damaged (ValueError: ")


def header(length: int, text: bytes, data: bytes = b"\0" * 24) -> bytes:
    return struct.pack("<Q", length) + text + data


def entries(**tensors: tuple[list[int], list[int]]) -> bytes:
    table = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        for name, (shape, offsets) in tensors.items()
    }
    return json.dumps(table).encode()


OVERLAP = entries(a=([6], [0, 24]), b=([3], [6, 18]))
GAP = entries(a=([3], [0, 12]))
LIE = entries(a=([1000], [0, 24]))
SAME = entries(a=([6], [0, 24]), b=([6], [0, 24]))


@pytest.mark.parametrize(
    "content, said",
    [
        (b"\1\2\3", "header too small"),
        (header(2**63, b"{}"), "header too large"),
        (header(101 * 10**6, b"{}"), "header too large"),
        (header(10**6, b"{}"), "invalid header length"),
        (header(5, b'{"a":'), "invalid JSON in header"),
        (header(4, b"\xff\xfe\xfd\xfc"), "invalid UTF-8 in header"),
        (header(60000, b"[" * 60000), "invalid JSON in header"),
        (header(len(OVERLAP), OVERLAP), "invalid offset for tensor"),
        (header(len(SAME), SAME), "invalid offset for tensor"),
        (header(len(GAP), GAP), "not fully covered"),
        (header(len(LIE), LIE), "invalid shape"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path, content, said):
    (tmp_path / "a.safetensors").write_bytes(content)
    sentence = reason(tmp_path, "a.safetensors")
    assert sentence.startswith("it is no intact safetensors file (")
    assert sentence.endswith("): copy or save it again.")
    assert said in sentence


def test_a_safetensors_file_without_tensors_holds_no_weights(tmp_path):
    text = b'{"__metadata__":{"format":"pt"}}'
    (tmp_path / "a.safetensors").write_bytes(header(len(text), text, b""))
    assert reason(tmp_path, "a.safetensors").startswith("it holds no weights")


# --- places -----------------------------------------------------------------------


def test_a_file_that_disappears_is_refused(tmp_path):
    saved(STATE, tmp_path / "a.pt")
    paths, _ = find(tmp_path)
    (tmp_path / "a.pt").unlink()
    assert reason(tmp_path, paths[0]) == (
        "it is not there, or is a link to nothing: copy it again."
    )


@pytest.mark.parametrize("path", ["a\0b.pt", "", ".", "x" * 5000 + ".pt"])
def test_paths_that_are_none_are_refused(tmp_path, path):
    reason(tmp_path, path)


@contextlib.contextmanager
def as_nobody():
    """Root may read everything: do without its rights for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_files_and_folders_without_permission_are_refused():
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to nobody
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("a.pt", "a.safetensors", "shut/b.pt"):
            saved(STATE, folder / file)
            read(folder, file)  # imports what is needed, while it may
        (folder / "a.pt").chmod(0)
        (folder / "a.safetensors").chmod(0)
        (folder / "shut").chmod(0)
        sentence = "it cannot be opened (Permission denied): give access to it."
        try:
            with as_nobody():
                assert find(folder) == (
                    ["a.pt", "a.safetensors"],
                    [Rejected("shut", sentence)],
                )
                for file in ("a.pt", "a.safetensors", "shut/b.pt"):
                    assert reason(folder, file) == sentence
        finally:
            (folder / "shut").chmod(0o755)


@pytest.mark.parametrize(
    "error, sentence",
    [
        (MemoryError(), "it needs more memory than there is: read it where"),
        (RuntimeError("a\nb"), "it is damaged (RuntimeError: a): copy or save it"),
        (OSError(22, "Invalid argument"), "it is damaged (OSError: [Errno 22] Inv"),
        (RecursionError("too deep"), "it is damaged (RecursionError: too deep)"),
        (RuntimeError("\x1b[1m\ud800"), "it is damaged (RuntimeError: ?[1m?): copy"),
        (RuntimeError("x" * 999), "it is damaged (RuntimeError: " + "x" * 90),
    ],
)
def test_whatever_goes_wrong_becomes_a_sentence(tmp_path, monkeypatch, error, sentence):
    saved(STATE, tmp_path / "a.pt")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(formats.torch, "load", fail)
    assert reason(tmp_path).startswith(sentence)
    assert len(reason(tmp_path)) < 250


# --- shards -----------------------------------------------------------------------

INDEX = "model.safetensors.index.json"
PARTS = {"x": {"a": torch.ones(2)}, "y": {"b": torch.ones(2)}}


def test_a_missing_shard_refuses_the_whole(tmp_path):
    sharded(tmp_path, PARTS)
    (tmp_path / "y.safetensors").unlink()
    sentence = (
        "its shard 'y.safetensors' cannot be read: it is not there, or is a link to "
        "nothing: copy it again."
    )
    assert reason(tmp_path, INDEX) == sentence
    assert find(tmp_path) == (
        [],
        [
            Rejected(INDEX, sentence),
            Rejected("x.safetensors", f"it is a shard of '{INDEX}', which is refused."),
        ],
    )


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "sub/x.safetensors", "/x.safetensors", "..", r"a\b", "", "\0"],
)
def test_a_shard_in_another_place_is_refused(tmp_path, shard):
    index = sharded(tmp_path / "hf", PARTS)
    saved(PARTS["x"], tmp_path / "x.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    sentence = reason(tmp_path / "hf", INDEX)
    assert sentence.startswith(f"it names the shard {shard!r}")
    paths, rejected = find(tmp_path / "hf")
    assert paths == ["x.safetensors", "y.safetensors"]
    assert rejected == [Rejected(INDEX, sentence)]


def test_a_shard_that_links_out_of_the_folder_is_refused(tmp_path):
    sharded(tmp_path / "hf", PARTS)
    outside = saved(PARTS["x"], tmp_path / "x.safetensors")
    (tmp_path / "hf/x.safetensors").unlink()
    (tmp_path / "hf/x.safetensors").symlink_to(outside)
    assert reason(tmp_path / "hf", INDEX).startswith(
        "its shard 'x.safetensors' cannot be read: it lies outside the folder"
    )


def test_shards_that_do_not_fit_together_are_refused(tmp_path):
    index = sharded(tmp_path, PARTS)
    saved({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "y.safetensors")
    assert (
        reason(tmp_path, INDEX)
        == "two of its shards hold 'a': copy all files of the checkpoint again."
    )
    saved({"c": torch.ones(2)}, tmp_path / "y.safetensors")
    assert reason(tmp_path, INDEX) == (
        "its shard 'y.safetensors' does not hold 'b': copy all files of the "
        "checkpoint again."
    )
    (tmp_path / "y.safetensors").write_bytes(b"")
    assert reason(tmp_path, INDEX) == (
        "its shard 'y.safetensors' cannot be read: it is empty (0 bytes): copy or "
        "save it again."
    )
    index.write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    assert reason(tmp_path, INDEX) == "it names 'a' twice: copy or save it again."


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "it is no valid JSON (Expecting value"),
        ("{", "it is no valid JSON ("),
        ("[" * 100_000, "it is no valid JSON ("),
        ("[]", "it is no index of shards, since it has no 'weight_map': copy or save"),
        ("{}", "it is no index of shards, since it has no 'weight_map': copy or save"),
        ('{"weight_map": {}}', "it is no index of shards"),
        ('{"weight_map": ["x.safetensors"]}', "it is no index of shards"),
        (
            '{"weight_map": {"a": 3}}',
            "it names the shard 3, which is no file beside it: c",
        ),
        (
            '{"weight_map": {"a": "x.bin"}}',
            "it names the shard 'x.bin', which is no .s",
        ),
    ],
)
def test_a_damaged_index_is_refused(tmp_path, text, sentence):
    sharded(tmp_path, PARTS).write_text(text)
    assert reason(tmp_path, INDEX).startswith(sentence)
    assert [one.path for one in find(tmp_path)[1]] == [INDEX]


def test_a_huge_index_is_not_parsed(tmp_path, monkeypatch):
    sharded(tmp_path, PARTS)
    monkeypatch.setattr(shards_module, "_LARGEST_INDEX", 10)
    assert reason(tmp_path, INDEX) == (
        "it is far too large for an index of shards: save it again."
    )
