"""Running statistics of test batches: by torch's own layers, and through a zoo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nwslib.nws import Budget, Plan, Source, sample
from nwslib.nws.architecture import ACTIVATIONS, FIXED, Architecture, Net, initialise
from nwslib.nws.batch_statistics import after_test, zoo_after_test
from nwslib.nws.executors import here
from nwslib.nws.images import as_input

SMALL = Architecture(3, 4, 3, 16, 64)  # a convolution without a pool among them
PLAN = Plan(
    (Source("digits", train=60, test=20), Source("more", "digits", 50, 10)),
    Budget(max_epochs=1, snapshots=2),
    fixed_architecture=False,
    seed=5,
)


@pytest.fixture(scope="module")
def pixels():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (23, 32, 32, 3), generator=generator).to(torch.uint8)


def a_net(architecture=SMALL, seed=0):
    """A vector with nothing at its default."""
    generator = torch.Generator().manual_seed(seed)
    net = initialise(Net(architecture), "glorot_uniform", generator)
    vector = architecture.layout.flatten(net)
    return (vector + 0.1 * torch.rand(vector.shape, generator=generator)).numpy()


def changes(architecture):
    """Mask of the running statistics."""
    layout = architecture.layout
    mask = np.zeros(layout.size, dtype=bool)
    for kind in ("mean", "var"):
        mask[layout.select(kind=kind).numpy()] = True
    return mask


def by_torchs_layers(vector, architecture, activation, batches):
    """The vector after batches have gone through torch.nn's layers in training mode."""
    state = architecture.layout.unflatten(torch.from_numpy(vector.copy()))
    norms = {}
    for layer in architecture.layers[:-1]:
        make = nn.BatchNorm2d if layer.filter_size else nn.BatchNorm1d
        norms[layer.name] = make(layer.outputs)
        norms[layer.name].load_state_dict(
            {
                name: state[f"{layer.name}.{kind}"]
                for name, kind in (
                    ("weight", "gamma"),
                    ("bias", "beta"),
                    ("running_mean", "mean"),
                    ("running_var", "var"),
                )
            }
            | {"num_batches_tracked": torch.tensor(0)}
        )
    for x in batches:
        for layer in architecture.layers[:-1]:
            w, b = state[f"{layer.name}.weight"], state[f"{layer.name}.bias"]
            if layer.filter_size:
                x = activation(norms[layer.name](F.conv2d(x, w, b, padding="same")))
                x = F.max_pool2d(x, 2) if layer.pool else x
            else:
                x = x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x
                x = norms[layer.name](activation(F.linear(x, w, b)))
    for name, norm in norms.items():
        state[f"{name}.mean"] = norm.running_mean
        state[f"{name}.var"] = norm.running_var
    return architecture.layout.flatten(state).numpy()


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_what_torchs_batch_norm_does(activation, passes, pixels):
    vector = a_net()
    found = after_test(vector, SMALL, activation, pixels, 10, passes)
    x = as_input(pixels)
    with torch.no_grad():
        expected = by_torchs_layers(
            vector, SMALL, ACTIVATIONS[activation], [x[:10], x[10:20]] * passes
        )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_first_layers_mean_by_hand(pixels):
    vector = a_net()
    found = after_test(vector, SMALL, "tanh", pixels, 23)
    before, after = (
        SMALL.layout.unflatten(torch.from_numpy(v)) for v in (vector, found)
    )
    outputs = F.conv2d(
        as_input(pixels), before["conv1.weight"], before["conv1.bias"], padding=1
    )
    seen = outputs.transpose(0, 1).flatten(1)  # [channels, pixels of all images]
    for kind, of_batch in (("mean", seen.mean(1)), ("var", seen.var(1))):
        expected = 0.9 * before[f"conv1.{kind}"] + 0.1 * of_batch
        torch.testing.assert_close(after[f"conv1.{kind}"], expected)


def test_only_running_statistics_change(pixels):
    vector = a_net(FIXED)
    before = vector.copy()
    found = after_test(vector, FIXED, "relu", pixels, 8)
    assert found.dtype == np.float32 and found.shape == vector.shape
    assert np.array_equal(found != vector, changes(FIXED))
    assert np.array_equal(vector, before)


def test_it_is_deterministic_and_dropout_is_off(pixels):
    vector, random = a_net(), torch.get_rng_state()
    first, again = (after_test(vector, SMALL, "elu", pixels, 8) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), random)


def test_nothing_but_the_share_left_depends_on_what_they_were(pixels):
    vector, mask = a_net(), changes(SMALL)
    other = np.where(mask, vector + 5, vector)
    results = (
        after_test(v, SMALL, "relu", pixels, 8, passes=4) for v in (vector, other)
    )
    one, two = results
    np.testing.assert_allclose((two - one)[mask], 5 * 0.9**8, rtol=1e-4)


def test_left_over_images_are_left_out_and_few_make_one_batch(pixels):
    vector = a_net()

    def tested(n, batch_size):
        return after_test(vector, SMALL, "relu", pixels[:n], batch_size)

    np.testing.assert_array_equal(tested(23, 10), tested(20, 10))
    np.testing.assert_array_equal(tested(7, 256), tested(7, 7))
    assert not np.array_equal(tested(7, 7), tested(8, 8))


# --- a zoo --------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    path = tmp_path_factory.mktemp("sampled") / "zoo"
    return sample(path, PLAN, 4, executor=here, progress=False)


def test_a_zoos_runs_are_tested_on_their_own_images(zoo, monkeypatch):
    loaded, load = [], Source.load
    monkeypatch.setattr(
        Source, "load", lambda self, root: loaded.append(self.name) or load(self, root)
    )
    found = dict(zoo_after_test(zoo, PLAN, runs=[3, 0, 1], snapshots=[1], passes=2))
    assert loaded == ["digits", "more"]  # each once
    assert list(found) == [3, 0, 1]
    assert len({PLAN.run(run).dataset for run in found}) == 2
    images = {source.name: load(source) for source in PLAN.sources}
    for run, vectors in found.items():
        given = PLAN.run(run)
        (vector,) = zoo.weights([run], [1])[0]
        pixels = images[given.dataset].test_images
        expected = after_test(
            vector, given.architecture, given.activation, pixels, given.batch_size, 2
        )
        np.testing.assert_array_equal(vectors, expected[None])


def test_all_runs_and_snapshots_by_default(zoo):
    found = list(zoo_after_test(zoo, PLAN))
    assert [run for run, _ in found] == [0, 1, 2, 3]
    for run, vectors in found:
        (before,) = zoo.weights([run])
        assert vectors.shape == before.shape
        same = ~changes(PLAN.run(run).architecture)
        np.testing.assert_array_equal(vectors[:, same], before[:, same])


# --- errors -------------------------------------------------------------------


def test_errors_say_what_to_do(pixels):
    vector = a_net()
    with pytest.raises(ValueError, match="f3-c4x16-d3x64-plain have no running stat"):
        plain = replace(SMALL, batch_norm=False)
        after_test(vector, plain, "relu", pixels, 8)
    with pytest.raises(ValueError, match="1 test images in batches of 1, passes 1"):
        after_test(vector, SMALL, "relu", pixels[:1], 8)
    with pytest.raises(ValueError, match="passes 0: batch norm needs two images"):
        after_test(vector, SMALL, "relu", pixels, 8, passes=0)
    with pytest.raises(ValueError, match="does not fit this layout"):
        after_test(vector[:-1], SMALL, "relu", pixels, 8)
    with pytest.raises(ValueError, match="unknown activation 'swish'"):
        after_test(vector, SMALL, "swish", pixels, 8)


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, seed=6),
        replace(PLAN, sources=(PLAN.sources[0], replace(PLAN.sources[1], test=11))),
    ],
)
def test_another_plan_or_other_images_are_refused_at_once(zoo, plan):
    with pytest.raises(ValueError, match="another plan or other images: pass the plan"):
        zoo_after_test(zoo, plan)
