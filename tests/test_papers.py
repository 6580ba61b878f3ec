import pytest

from nwslib import papers
from nwslib.flatten import Layout
from nwslib.nets import get_net

NETS = ["A1", "A2"]


@pytest.mark.parametrize("net", NETS)
def test_printed_weight_counts_are_those_of_the_nets(net):
    assert papers.N_WEIGHTS[net] == Layout.of(get_net(net).build()).size


def test_every_table_covers_both_nets():
    for table in (papers.TABLE_1, papers.N_WEIGHTS, papers.CLUSTER_TABLES):
        assert sorted(table) == NETS
    assert list(papers.TABLE_1["A1"]) == list(papers.TABLE_1["A2"])


@pytest.mark.parametrize("net", NETS)
def test_cluster_tables_have_the_full_space_and_six_reductions(net):
    table = papers.CLUSTER_TABLES[net]
    assert list(table) == [0, 500, 100, 50, 25, 10, 5]
    assert list(table)[1:] == list(papers.SVD_DIMENSIONS)
    assert max(table) < papers.N_WEIGHTS[net]


@pytest.mark.parametrize("net", NETS)
def test_cluster_rows_are_in_the_measures_ranges(net):
    for row in papers.CLUSTER_TABLES[net].values():
        assert 1 / papers.N_MODELS <= row.purity <= 1
        assert 0 <= row.ordered_initial <= papers.N_EPOCHS
        assert 0 <= row.ordered_pairs <= 1


@pytest.mark.parametrize("net", NETS)
def test_no_score_rises_as_dimensions_fall(net):
    # as printed ("below, both purity as well as ordering decline"): rows that
    # changed places in copying would show here
    rows = list(papers.CLUSTER_TABLES[net].values())[1:]
    for measure in ("purity", "ordered_initial", "ordered_pairs"):
        printed = [getattr(row, measure) for row in rows]
        assert printed == sorted(printed, reverse=True)


def test_convolutional_zoo_orders_better_in_every_space():
    tables = papers.CLUSTER_TABLES
    for space, cnn in tables["A2"].items():
        ffnn = tables["A1"][space]
        assert cnn.ordered_initial > ffnn.ordered_initial
        assert cnn.ordered_pairs > ffnn.ordered_pairs
        assert cnn.purity <= ffnn.purity
