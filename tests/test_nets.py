import pytest
import torch
from torch import nn

from nwslib.nets import A1, A2, INITIALISATIONS, NETS, get_net, initialise


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("net", "sizes"), [(A1, [1960, 100, 100]), (A2, [144, 1152, 80])]
)
def test_weights_are_those_the_paper_counts(net, sizes):
    assert [weight.numel() for weight in net().parameters()] == sizes
    assert list(net().buffers()) == []


def test_spatial_sizes_of_a2():
    shapes = []
    net = A2()
    for layer in (net.conv1, net.conv2, net.fc):
        layer.register_forward_hook(
            lambda _, inputs, output: shapes.append(
                (tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))
            )
        )
    net(torch.zeros(2, 1, 14, 14))
    assert shapes == [
        ((1, 14, 14), (16, 7, 7)),
        ((16, 3, 3), (8, 2, 2)),
        ((8,), (10,)),
    ]


def test_a1_is_three_matrices_and_two_sigmoids():
    net, x = A1(), torch.randn(5, 196, generator=generator())
    w1, w2, w3 = net.parameters()
    expected = ((x @ w1.T).sigmoid() @ w2.T).sigmoid() @ w3.T
    torch.testing.assert_close(net(x), expected)
    torch.testing.assert_close(net(x.view(5, 1, 14, 14)), expected)


@pytest.mark.parametrize("name", NETS)
def test_specs_say_what_the_nets_take(name):
    spec = get_net(name)
    images = torch.zeros(3, spec.channels, spec.image_size, spec.image_size)
    assert spec.build()(images).shape == (3, 10)


def test_unknown_net():
    with pytest.raises(ValueError, match=r"unknown net 'A3': choose .*'A1', 'A2'"):
        get_net("A3")


# Linear(300, 200): fan in 300, fan out 200; the second value bounds uniform draws
DRAWS = {
    "kaiming_normal": ((2 / 300) ** 0.5, None),
    "kaiming_uniform": ((2 / 300) ** 0.5, (6 / 300) ** 0.5),
    "xavier_normal": ((2 / 500) ** 0.5, None),
    "xavier_uniform": ((2 / 500) ** 0.5, (6 / 500) ** 0.5),
    "normal": (1.0, None),
}


@pytest.mark.parametrize("scheme", DRAWS)
def test_random_schemes_have_their_spread(scheme):
    deviation, bound = DRAWS[scheme]
    weight = initialise(nn.Linear(300, 200), scheme, generator()).weight.detach()
    # 60,000 draws: the deviation is known to 0.3 %, the mean to 0.4 % of it
    assert weight.std().item() == pytest.approx(deviation, rel=0.015)
    assert abs(weight.mean().item()) < 0.02 * deviation
    fourth = ((weight / weight.std()) ** 4).mean().item()
    assert fourth == pytest.approx(3 if bound is None else 9 / 5, rel=0.05)
    if bound is not None:
        assert 0.99 * bound < weight.abs().max().item() <= bound


def test_kernels_count_their_taps_as_fan_in():
    weight = initialise(nn.Conv2d(40, 50, 3), "kaiming_normal", generator()).weight
    assert weight.std().item() == pytest.approx((2 / 360) ** 0.5, rel=0.03)


def test_the_constant_scheme():
    assert (initialise(A1(), "constant", generator()).fc2.weight == 0.1).all()


def test_every_scheme_is_tested():
    assert {*DRAWS, "constant"} == set(INITIALISATIONS)


@pytest.mark.parametrize("scheme", INITIALISATIONS)
def test_biases_vanish_and_gammas_stay(scheme):
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Conv2d(2, 2, 1))
    nn.init.constant_(net[1].weight, 2.5)
    assert initialise(net, scheme, generator()) is net
    for layer in net:
        assert (layer.bias == 0).all()
    assert (net[1].weight == 2.5).all()
    assert (net[0].weight != 0).all()


@pytest.mark.parametrize("scheme", DRAWS)
def test_one_seed_one_draw(scheme):
    def draw(seed):
        return initialise(A2(), scheme, generator(seed)).conv2.weight

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_unknown_scheme():
    with pytest.raises(ValueError, match="unknown initialisation 'zeros': choose one"):
        initialise(A1(), "zeros", generator())
