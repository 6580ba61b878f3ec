import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nwslib.flatten import Layout
from nwslib.nets import A1, A2

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NOT_COORDINATES = (torch.int64, torch.uint8, torch.bool)

names = st.lists(
    st.sampled_from(["weight", "bias", "running_mean", "running_var", "0", "fc"]),
    min_size=1,
    max_size=3,
).map(".".join)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def state_dicts(draw):
    """Any names, shapes (scalars and empty ones too) and types."""
    kinds = draw(
        st.dictionaries(
            names,
            st.tuples(shapes, st.sampled_from(FLOATS + NOT_COORDINATES)),
            min_size=1,
            max_size=8,
        )
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    state = {}
    for name, (shape, dtype) in kinds.items():
        values = 100 * torch.randn(shape, dtype=torch.float64, generator=generator)
        state[name] = values.to(dtype)
        if state[name].is_floating_point() and state[name].numel():
            special = torch.tensor([math.inf, -math.inf, math.nan, -0.0, 0.0])
            place = torch.randint(values.numel(), (1,), generator=generator)
            state[name].view(-1)[place] = special[place % 5].to(dtype)
    return state


def coordinates(state):
    return {name: t for name, t in state.items() if t.is_floating_point()}


def assert_same(left, right):
    """Equal in keys, order, types and values, NaN and the sign of zero included."""
    assert list(left) == list(right)
    for name in left:
        torch.testing.assert_close(
            left[name], right[name], rtol=0, atol=0, equal_nan=True
        )
        number = ~left[name].isnan()
        assert (left[name].signbit() == right[name].signbit())[number].all()


@settings(deadline=None, max_examples=200)
@given(state_dicts().filter(lambda s: any(t.numel() for t in coordinates(s).values())))
def test_any_state_dict_survives_the_round_trip(state):
    layout = Layout.of(state)
    vector = layout.flatten(state)
    assert vector.shape == (layout.size,)
    assert_same(layout.unflatten(vector), coordinates(state))

    stacked = layout.unflatten(torch.stack([vector, vector]).unsqueeze(1))
    assert_same({name: t[1, 0] for name, t in stacked.items()}, coordinates(state))

    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@settings(deadline=None, max_examples=100)
@given(state_dicts().filter(lambda s: any(t.numel() for t in coordinates(s).values())))
def test_slices_tile_the_vector(state):
    layout = Layout.of(state)
    vector = layout.flatten(state)
    stops = [0, *(piece.stop for piece in layout)]
    assert [piece.start for piece in layout] == stops[:-1]
    assert stops[-1] == layout.size
    for piece in layout:
        torch.testing.assert_close(
            vector[piece.start : piece.stop],
            state[piece.name].flatten().to(layout.dtype),
            rtol=0, atol=0, equal_nan=True,
        )  # fmt: skip
    for by, groups in (("layer", layout.layers), ("kind", layout.kinds)):
        picked = torch.cat([layout.select(**{by: group}) for group in groups])
        assert sorted(picked.tolist()) == list(range(layout.size))


@settings(deadline=None, max_examples=100)
@given(
    state_dicts().filter(lambda s: any(t.numel() for t in coordinates(s).values())),
    st.integers(0, 2**32),
)
def test_any_vector_survives_the_round_trip(state, seed):
    """A layout does not mix coordinates up: each number comes back in its place."""
    layout = Layout.of(coordinates(state))
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randperm(layout.size, generator=generator).to(layout.dtype)
    back = layout.flatten(layout.unflatten(vector))
    for piece in layout:  # a tensor's own type may round
        part = slice(piece.start, piece.stop)
        rounded = vector[part].to(state[piece.name].dtype).to(layout.dtype)
        assert torch.equal(back[part], rounded)


def test_the_papers_nets():
    a1, a2 = Layout.of(A1()), Layout.of(A2())
    assert (a1.size, a2.size) == (2160, 1376)
    assert [p.size for p in a1] == [1960, 100, 100]
    assert [p.size for p in a2] == [144, 1152, 80]
    assert a1.layers == ("fc1", "fc2", "fc3") and a1.kinds == ("weight",)
    assert a2.layers == ("conv1", "conv2", "fc")
    assert torch.equal(a2.select(layer="conv2"), torch.arange(144, 144 + 1152))


def block():
    return nn.Sequential(
        nn.Conv2d(3, 4, 5),
        nn.BatchNorm2d(4),
        nn.LayerNorm(7),
        nn.Linear(4, 2).half(),
    )


def test_kinds_of_batch_norm():
    layout = Layout.of(block())
    batch_norm = ("gamma", "beta", "mean", "var")
    assert layout.kinds == ("weight", "bias", *batch_norm)
    assert layout.layers == ("0", "1", "2", "3")
    start = 4 * 3 * 5 * 5 + 4
    for number, kind in enumerate(batch_norm):  # num_batches_tracked is left out
        where = torch.arange(start + 4 * number, start + 4 * number + 4)
        assert torch.equal(layout.select(layer="1", kind=kind), where)
    # layer norm keeps no running statistics: plain weight and bias
    assert len(layout.select(layer="2", kind="weight")) == 7
    assert layout.select(layer="2", kind="gamma").tolist() == []


def test_a_vector_of_mixed_types_holds_each_exactly():
    halves = {"a": torch.ones(2).half(), "b": torch.ones(2).bfloat16()}
    assert Layout.of(halves).dtype == torch.float32
    assert Layout.of({"a": torch.ones(2).half()}).dtype == torch.float16
    assert Layout.of({"a": torch.ones(2), "b": torch.ones(1).double()}).dtype == (
        torch.float64
    )


def test_load_writes_coordinates_and_keeps_counters():
    source, target = block(), block()
    source[1].num_batches_tracked += 5
    for tensor in coordinates(source.state_dict()).values():
        nn.init.normal_(tensor)
    layout = Layout.of(source)
    assert layout.load(layout.flatten(source), target) is target
    assert target[1].num_batches_tracked == 0
    assert target[3].weight.dtype == torch.float16
    assert_same(coordinates(target.state_dict()), coordinates(source.state_dict()))


def test_flatten_copies():
    net = A1()
    vector = Layout.of(net).flatten(net)
    vector += 1
    assert not vector.requires_grad
    assert not torch.equal(vector, Layout.of(net).flatten(net))


def linear_state(**entries):
    return {"weight": torch.ones(2, 3), "bias": torch.ones(2)} | entries


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"a": torch.ones(1)},
            "entry 'x' is a dict, not a tensor: pass the state_dict",
        ),
        (torch.ones(2, dtype=torch.complex64), "'x' is complex, quantised or sparse"),
        (torch.ones(2, 2).to_sparse(), "'x' is complex, quantised or sparse"),
    ],
)
def test_entries_that_are_no_weights(entry, message):
    with pytest.raises(ValueError, match=message):
        Layout.of({"x": entry})
    with pytest.raises(ValueError, match=message):
        Layout.of(linear_state()).flatten(linear_state(x=entry))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_entries_are_refused():
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    with pytest.raises(ValueError, match=r"'x' is complex, quantised .* \(.dequantize"):
        Layout.of({"x": quantised})


@pytest.mark.parametrize("net", [nn.ReLU(), {}, {"steps": torch.tensor(3)}])
def test_nothing_to_flatten(net):
    with pytest.raises(ValueError, match="holds no floating-point weights: pass a"):
        Layout.of(net)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.ones(2, 3)}, r"missing \['bias'\], extra \[\]"),
        (linear_state(scale=torch.ones(1)), r"missing \[\], extra \['scale'\]"),
        ({"w": torch.ones(2, 3)}, r"missing \['weight', 'bias'\], extra \['w'\]"),
        (linear_state(bias=torch.ones(3)), r"'bias' has shape \[3\], .* has \[2\]: b"),
        (linear_state(bias=torch.ones(2).int()), r"missing \['bias'\]"),
    ],
)
def test_state_dicts_of_another_net(state, message):
    layout = Layout.of(linear_state())
    with pytest.raises(ValueError, match=message):
        layout.flatten(state)
    module = nn.Module()
    for name, tensor in state.items():
        module.register_buffer(name, tensor)
    with pytest.raises(ValueError, match=message):
        layout.load(torch.ones(8), module)


@pytest.mark.parametrize("shape", [(), (7,), (9,), (8, 7)])
def test_vectors_of_another_length(shape):
    layout = Layout.of(linear_state())
    with pytest.raises(ValueError, match="does not fit .* last dimension must be 8"):
        layout.unflatten(torch.ones(shape))


def test_a_module_takes_one_vector():
    layout = Layout.of(nn.Linear(3, 2))
    with pytest.raises(
        ValueError, match=r"one weight vector, got shape \[4, 8\]: pick"
    ):
        layout.load(torch.ones(4, 8), nn.Linear(3, 2))


@pytest.mark.parametrize("by", ["layer", "kind"])
def test_unknown_groups(by):
    with pytest.raises(ValueError, match=f"no {by} 'fc9' in this layout: choose one"):
        Layout.of(A1()).select(**{by: "fc9"})
