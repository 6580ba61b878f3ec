import copy
import json
import logging
import math
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import alarm_rates
from nwslib.flatten import Layout
from nwslib.monitor import (
    Alarm,
    AlarmRules,
    LightningHooks,
    TrajectoryMonitor,
    TransformersHooks,
    read_log,
    rule_scores,
)
from nwslib.monitor.projection import SparseProjection
from nwslib.trajectory import geometry_by_group


@pytest.fixture(autouse=True)
def one_thread():
    """More would only wait for each other, in nets as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


def train(net, monitor, steps, optimizer=None):
    """An ordinary loop; its batches depend on the step alone."""
    optimizer = optimizer or torch.optim.Adam(net.parameters(), lr=0.05)
    for step in range(monitor.steps, monitor.steps + steps):
        torch.manual_seed(step)
        x = torch.randn(16, 6)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), x[:, :3].argmax(1)).backward()
        optimizer.step()
        monitor.step()


@torch.no_grad()
def nudge(net, scale=1.0, generator=None, only=None):
    """Move every parameter, or those whose name begins so, at random."""
    for name, parameter in net.named_parameters():
        if only is None or name.startswith(only):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += scale * noise.to(parameter.dtype)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def names(alarms):
    return [alarm.name for alarm in alarms]


# --- what is followed -------------------------------------------------------


@pytest.mark.parametrize("chunk", [5, 32_000])
def test_positions_are_those_of_the_whole_path(chunk, monkeypatch):
    monkeypatch.setattr("nwslib.trajectory.follower.CPU_CHUNK", chunk)
    net = small_net()
    layout = Layout.of(dict(net[0].named_parameters()))
    monitor = TrajectoryMonitor(net[0], every=3)
    path = [layout.flatten(dict(net[0].named_parameters())).clone()]
    for step in range(1, 13):
        nudge(net, 0.1)
        monitor.step()
        if step % 3 == 0:
            path.append(layout.flatten(dict(net[0].named_parameters())).clone())
    shapes = geometry_by_group(torch.stack(path).numpy(), layout)
    assert monitor.steps == 12
    assert list(monitor.positions) == list(shapes)
    for name, shape in shapes.items():
        position = monitor.positions[name]
        for field in ("step", "travelled", "from_start", "turning", "curvature"):
            expected = getattr(shape, field)[-1]
            assert getattr(position, field) == pytest.approx(expected, rel=1e-4)
        assert position.smoothness == pytest.approx(shape.smoothness, rel=1e-4)
        assert position.straightness == pytest.approx(shape.straightness, rel=1e-4)


def test_running_statistics_and_counters_are_not_followed():
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1)
    net.train()(torch.randn(32, 6))  # moves what batch norm keeps
    monitor.step()
    assert monitor.positions["whole"].step == 0
    kinds = [name for name in monitor.positions if name.startswith("kind:")]
    assert kinds == ["kind:weight", "kind:bias", "kind:gamma", "kind:beta"]


def test_shared_parameters_are_followed_once():
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net[1].weight = net[0].weight
    monitor = TrajectoryMonitor(net, every=1)
    with torch.no_grad():
        net[0].weight += 1
    monitor.step()
    assert monitor.positions["whole"].step == pytest.approx(4)
    assert "layer:1" not in monitor.positions


def test_half_precision_and_mixed_types():
    net = nn.Sequential(
        nn.Linear(4, 4).half(), nn.Linear(4, 4).bfloat16(), nn.Linear(4, 2)
    )
    monitor = TrajectoryMonitor(net, every=1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter + 0.5)  # rounded to the parameter's own type
    monitor.step()
    assert monitor.positions["whole"].step == pytest.approx(0.5 * 50**0.5, rel=1e-2)


@pytest.mark.parametrize(
    "types", [("float", "half"), ("float", "double"), ("double", "float")]
)
def test_the_net_may_change_its_type_on_the_way(types):
    net = getattr(small_net(), types[0])()
    monitor = TrajectoryMonitor(net, every=1)
    nudge(net, 0.1)
    monitor.step()
    before = monitor.positions["whole"]
    getattr(net, types[1])()
    monitor.step()
    after = monitor.positions["whole"]
    assert after.step < 1e-2 * before.step  # rounding alone
    assert after.from_start == pytest.approx(before.from_start, rel=1e-2)
    nudge(net, 0.1)
    monitor.step()
    assert monitor.positions["whole"].step > 0.1 * before.step


def test_empty_parameters_do_not_matter():
    net = small_net()
    net.register_parameter("nothing", nn.Parameter(torch.empty(0, 3)))
    monitor = TrajectoryMonitor(net, every=1)
    nudge(net)
    monitor.step()
    assert monitor.positions["whole"].step > 0


class Compiled(nn.Module):
    """Keeps a module as ``torch.compile`` does, without its seconds of imports."""

    def __init__(self, net):
        super().__init__()
        self._orig_mod = net


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        Compiled,
        lambda net: Compiled(nn.DataParallel(net)),
        lambda net: nn.Sequential(Compiled(net[0]), *net[1:]),
    ],
)
def test_wrappers_change_nothing(wrap, tmp_path):
    log = tmp_path / "log.jsonl"
    monitor = TrajectoryMonitor(small_net(), every=1, log=log)
    net = small_net()
    wrapped = TrajectoryMonitor(wrap(net), every=1, log=log)  # the same layout
    wrapped.load_state_dict(monitor.state_dict())
    nudge(net)
    wrapped.step()
    assert list(wrapped.positions) == list(monitor.positions)
    assert wrapped.positions["whole"].step > 0


def test_changed_parameters_are_named():
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1)
    net.add_module("head", nn.Linear(3, 3))
    net[3] = nn.Linear(8, 5)
    with pytest.raises(ValueError) as error:
        monitor.step()
    text = "['3.bias', '3.weight', 'head.bias', 'head.weight']"
    assert f"other parameters than when its monitor began (changed: {text})" in str(
        error.value
    )


# --- arguments --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0: give a whole number from 1 on"),
        ({"every": 1.5}, "every is 1.5: give a whole number"),
        ({"project": -1}, "project is -1: give a whole number"),
        ({"on_alarm": 3}, "on_alarm is 3: give a function of an Alarm"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TrajectoryMonitor(small_net(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"least": 30}, "least is 30 and window 20: give a window"),
        ({"least": 0}, "least is 0 and window 20"),
        ({"frozen": 0}, "frozen is 0: give 1 observation or more"),
        ({"floor": 0.0}, "floor is 0.0: give a number over 0"),
    ],
)
def test_rules_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        AlarmRules(**options)


def test_nets_without_weights():
    with pytest.raises(ValueError, match="no floating-point parameters to follow"):
        TrajectoryMonitor(nn.ReLU())
    for net in (nn.LazyLinear(3), nn.Linear(2, 2, device="meta")):
        with pytest.raises(ValueError, match="parameter 'weight' has no values yet"):
            TrajectoryMonitor(net)


def test_a_closed_monitor_says_so():
    with TrajectoryMonitor(small_net()) as monitor:
        state = monitor.state_dict()
    monitor.close()
    for call in (
        monitor.step, monitor.state_dict, lambda: monitor.load_state_dict(state)
    ):  # fmt: skip
        with pytest.raises(ValueError, match="this monitor is closed: construct a new"):
            call()


# --- saved and resumed --------------------------------------------------------


@pytest.mark.parametrize("project", [None, 4])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(project, tmp_path):
    options = {"every": 2, "project": project}
    net = small_net()
    whole = TrajectoryMonitor(net, log=tmp_path / "whole.jsonl", **options)
    train(net, whole, 61)

    net, log = small_net(), tmp_path / "killed.jsonl"
    killed = TrajectoryMonitor(net, log=log, **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    train(net, killed, 25, optimizer)
    torch.save(
        [net.state_dict(), optimizer.state_dict(), killed.state_dict()],
        tmp_path / "checkpoint.pt",
    )
    train(net, killed, 10, optimizer)  # logged, then lost
    with open(log, "ab") as file:
        file.write(b'{"run": "0123456789ab", "st')  # killed while it wrote

    net = small_net(seed=1)
    weights, momenta, state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed = TrajectoryMonitor(net, log=log, **options)
    net.load_state_dict(weights)
    resumed.load_state_dict(state)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    optimizer.load_state_dict(momenta)
    train(net, resumed, 36, optimizer)

    assert resumed.steps == whole.steps == 61
    assert resumed.positions == whole.positions
    assert resumed.alarms == whole.alarms
    one, other = read_log(tmp_path / "whole.jsonl"), read_log(log)
    assert other.attrs.pop("unreadable") == 1 and one.attrs.pop("unreadable") == 0
    assert one["step"].tolist() == list(range(0, 61, 2))
    assert other.equals(one)


def test_a_saved_state_is_a_copy():
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1)
    nudge(net)
    monitor.step()
    state = monitor.state_dict()
    before = copy.deepcopy(state)
    nudge(net)
    monitor.step()
    assert str(state) == str(before)


@pytest.mark.parametrize(
    ("net", "options", "word"),
    [
        (nn.Linear(2, 2), {}, "layout"),
        (small_net(), {"every": 5}, "every: 100 saved, 5 here"),
        (small_net(), {"project": 4}, "project: None saved, 4 here"),
    ],
)
def test_states_of_others_are_refused(net, options, word):
    state = TrajectoryMonitor(small_net()).state_dict()
    monitor = TrajectoryMonitor(net, **options)
    with pytest.raises(ValueError, match=f"does not fit this monitor .{word}"):
        monitor.load_state_dict(state)
    with pytest.raises(ValueError, match="does not fit this monitor"):
        monitor.load_state_dict({})


def test_another_draw_is_refused(monkeypatch):
    state = TrajectoryMonitor(small_net(), project=4).state_dict()
    monkeypatch.setattr(SparseProjection, "digest", lambda self: "other")
    with pytest.raises(ValueError, match=r"draw: \w+ saved, other here"):
        TrajectoryMonitor(small_net(), project=4).load_state_dict(state)


# --- the log ------------------------------------------------------------------


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_the_log_is_strict_json_of_a_bounded_size(tmp_path):
    log = tmp_path / "log.jsonl"
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(40)))
    monitor = TrajectoryMonitor(net, every=1, log=log)
    for _ in range(30):
        nudge(net, 1e-4)
        monitor.step()
    nudge(net, 1e4)
    assert monitor.step()  # alarms are logged too
    lines = log.read_text().splitlines()
    header, *entries = [json.loads(line, parse_constant=refuse) for line in lines]
    assert header["weights"] == 40 * 20 and len(header["layers"]) == 40
    for line, entry in zip(lines[1:], entries, strict=True):
        assert len(line) < 450 + 15 * (40 + 2) + 250 * len(entry["alarms"])


def test_a_log_is_read_back(tmp_path):
    net, log = small_net(), tmp_path / "log.jsonl"
    monitor = TrajectoryMonitor(net, every=2, log=str(log))
    train(net, monitor, 60)
    train(net, monitor, 20, torch.optim.Adam(net.parameters(), lr=5.0))
    frame = read_log(log)
    assert frame["run"].eq(0).all()
    assert frame["step"].tolist() == list(range(0, 81, 2))
    last, whole = frame.iloc[-1], monitor.positions["whole"]
    assert last["length"] == pytest.approx(whole.step, rel=1e-6)
    for field in ("travelled", "from_start", "turning", "straightness"):
        assert last[field] == pytest.approx(getattr(whole, field), rel=1e-6)
    for group in ("layer:0", "layer:3", "kind:gamma"):
        assert last[group] == pytest.approx(monitor.positions[group].step, rel=1e-6)
    assert math.isnan(frame["length"][0]) and frame["travelled"][0] == 0
    told = [name for row in frame["alarms"] for name in row.split(",") if name]
    assert told == names(monitor.alarms) and "jump" in told


def test_runs_in_one_log_are_kept_apart(tmp_path):
    log = tmp_path / "log.jsonl"
    nets = small_net(0), small_net(1)
    monitors = [TrajectoryMonitor(net, every=1, log=log) for net in nets]
    for _ in range(3):  # at the same time
        for net, monitor in zip(nets, monitors, strict=True):
            nudge(net)
            monitor.step()
    frame = read_log(log)
    for run, monitor in enumerate(monitors):
        mine = frame[frame["run"] == run]
        assert mine["step"].tolist() == [0, 1, 2, 3]
        travelled = monitor.positions["whole"].travelled
        assert mine["travelled"].iloc[-1] == pytest.approx(travelled, rel=1e-6)


def test_a_resumed_run_in_a_new_log(tmp_path):
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1, log=tmp_path / "old.jsonl")
    monitor.step()
    resumed = TrajectoryMonitor(net, every=1, log=tmp_path / "new.jsonl")
    resumed.load_state_dict(monitor.state_dict())
    resumed.step()
    assert read_log(tmp_path / "new.jsonl")["step"].tolist() == [2]


def test_a_full_disk_does_not_stop_the_training(tmp_path, monkeypatch, caplog):
    log, net = tmp_path / "log.jsonl", small_net()
    monitor = TrajectoryMonitor(net, every=1, log=log)
    if os.path.exists("/dev/full"):
        monkeypatch.setattr(monitor._log, "_path", "/dev/full")
    else:
        monkeypatch.setattr(monitor._log, "_path", tmp_path)
    for _ in range(3):
        nudge(net)
        monitor.step()
    (record,) = caplog.records
    assert "cannot be written" in record.getMessage()
    assert "the training goes on" in record.getMessage()
    monkeypatch.setattr(monitor._log, "_path", log)  # there is room again
    with open(log, "ab") as file:
        file.write(b'{"run": "0')  # what fitted in
    nudge(net)
    monitor.step()
    frame = read_log(log)
    assert frame["step"].tolist() == [0, 4]
    assert frame.attrs["unreadable"] == 1
    assert monitor.positions["whole"].travelled == pytest.approx(
        frame["travelled"].iloc[-1], rel=1e-6
    )


def test_the_log_stays_where_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1, log="log.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monitor.step()
    assert len(read_log(tmp_path / "log.jsonl")) == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files")
def test_no_file_stays_open_for_forked_workers(tmp_path):
    monitor = TrajectoryMonitor(small_net(), every=1, log=tmp_path / "log.jsonl")
    monitor.step()
    opened = [
        os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
    ]
    assert str(tmp_path / "log.jsonl") not in opened


def test_logs_that_cannot_be_continued(tmp_path):
    net, log = small_net(), tmp_path / "log.jsonl"
    TrajectoryMonitor(nn.Linear(2, 2), log=log)
    with pytest.raises(ValueError, match="is of a net with another layout: choose"):
        TrajectoryMonitor(net, log=log)
    foreign = tmp_path / "notes.txt"
    for text in ("dear diary\n", "[1, 2]\n", '{"format": 1}\n', "\n"):
        foreign.write_text(text)
        for use in (
            lambda: TrajectoryMonitor(net, log=foreign),
            lambda: read_log(foreign),
        ):
            with pytest.raises(ValueError, match="is not a log of a TrajectoryMonitor"):
                use()
        assert foreign.read_text() == text
    foreign.write_bytes(b"")
    with pytest.raises(ValueError, match="is not a log of a TrajectoryMonitor"):
        read_log(foreign)
    with pytest.raises(
        ValueError, match="cannot be written .*: give the name of a file"
    ):
        TrajectoryMonitor(net, log=tmp_path / "nowhere" / "log.jsonl")
    log.write_text(re.sub(r', "crc": "\w+"', "", log.read_text()))  # as once written
    assert len(read_log(log)) == 1
    log.write_text(log.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="has format version 2, this nwslib reads up"):
        read_log(log)


# --- alarms -------------------------------------------------------------------


def test_values_that_are_not_finite_are_named_once():
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1)
    nudge(net, 0.1)
    monitor.step()
    before = monitor.positions
    kept = net[3].weight.detach().clone()
    with torch.no_grad():
        net[3].weight[1, :2] = math.nan
        net[3].weight[2, 2] = math.inf
    (alarm,) = monitor.step()
    assert alarm == Alarm(
        2, "not-finite", 3.0, 0.0,
        "NaN, infinity or more than 1e12 in '3.weight' (3 values).",
    )  # fmt: skip
    assert monitor.positions == before  # the path waits
    assert monitor.step() == []
    with torch.no_grad():
        net[3].weight.copy_(kept)
    assert monitor.step() == []
    assert monitor.positions["whole"].step == 0
    with torch.no_grad():
        net[0].bias[0] = math.nan
    assert names(monitor.step()) == ["not-finite"]
    assert names(monitor.alarms) == ["not-finite"] * 2


def test_a_net_that_is_not_finite_from_the_start(tmp_path):
    net = small_net()
    with torch.no_grad():
        net[0].weight[0, 0] = math.nan
    monitor = TrajectoryMonitor(net, every=1, log=tmp_path / "log.jsonl")
    assert names(monitor.alarms) == ["not-finite"] and monitor.positions == {}
    resumed = TrajectoryMonitor(net, every=1)
    resumed.load_state_dict(monitor.state_dict())
    with torch.no_grad():
        net[0].weight[0, 0] = 0.0
    assert resumed.step() == []
    assert resumed.positions["whole"].travelled == 0
    assert read_log(tmp_path / "log.jsonl")["travelled"].isna().tolist() == [True]


def test_running_statistics_must_be_finite_but_masks_need_not():
    net = small_net()
    net.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))
    monitor = TrajectoryMonitor(net, every=1)
    assert monitor.alarms == []
    net[1].running_var[2] = math.nan
    nudge(net)
    (alarm,) = monitor.step()
    assert "'1.running_var' (1 values)" in alarm.message
    assert monitor.positions["whole"].step > 0  # the path goes on


def test_values_whose_squares_are_not_finite_are_none():
    net = nn.Linear(100, 100)
    monitor = TrajectoryMonitor(net, every=1)
    with torch.no_grad():
        net.weight.fill_(9e11)
    monitor.step()
    assert monitor.alarms == []
    assert math.isfinite(monitor.positions["whole"].step)
    with torch.no_grad():
        net.weight[0, 0] = -1e12
    (alarm,) = monitor.step()
    assert (alarm.name, alarm.value) == ("not-finite", 1.0)


def test_half_precision_at_its_largest_is_no_alarm():
    net = nn.Linear(100, 100).half()
    with torch.no_grad():
        net.weight.fill_(torch.finfo(torch.float16).max)
    assert TrajectoryMonitor(net).alarms == []


def test_a_net_that_does_not_move():
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1)
    raised = [monitor.step() for _ in range(5)]
    assert [names(alarms) for alarms in raised] == [[], [], ["frozen"], [], []]
    assert raised[2][0].message == "no weight moved over the last 3 observations."
    nudge(net)
    monitor.step()
    assert names(sum((monitor.step() for _ in range(3)), [])) == ["frozen"]


def test_layers_that_were_forgotten():
    net = small_net()
    monitor = TrajectoryMonitor(net, every=1)
    raised = []
    for _ in range(4):
        nudge(net, only="3")
        raised += monitor.step()
        monitor.step()  # a skipped step tells nothing of single layers
    (alarm,) = raised
    assert (alarm.step, alarm.name) == (5, "frozen")
    assert "no weight of '0', '1' moved over the last 3 observations" in alarm.message
    assert "does the optimizer have them?" in alarm.message


def test_layers_that_are_frozen_on_purpose():
    net = small_net()
    net[0].requires_grad_(False)
    monitor = TrajectoryMonitor(net, every=1)
    for _ in range(5):
        nudge(net, only="3")
        nudge(net, only="1")
        monitor.step()
    assert monitor.alarms == []
    net[0].requires_grad_(True)
    for _ in range(3):
        nudge(net, only="3")
        nudge(net, only="1")
        monitor.step()
    assert "no weight of '0' moved" in monitor.alarms[0].message


def many_layers():
    return nn.Sequential(*(nn.Linear(20, 20, bias=False) for _ in range(4)))


def usual(net, monitor, n=25):
    generator = seeded(0)
    for _ in range(n):
        nudge(net, 0.01, generator)
        assert monitor.step() == []
    return generator


def test_a_jump():
    net = many_layers()
    monitor = TrajectoryMonitor(net, every=1)
    generator = usual(net, monitor)
    nudge(net, 0.03, generator)
    (alarm,) = monitor.step()
    assert alarm.name == "jump" and alarm.value > alarm.threshold == 5.0
    words = alarm.message.split()
    assert float(words[3]) == pytest.approx(3, abs=0.1)
    assert words[4:9] == ["times", "as", "long", "as", "usual"]
    nudge(net, 0.03, generator)
    assert "jump" not in names(monitor.step())  # it lasts
    nudge(net, 0.01, generator)
    monitor.step()
    nudge(net, 0.03, generator)
    assert "jump" in names(monitor.step())  # it came back


def test_a_shorter_step_is_no_jump():
    net = many_layers()
    monitor = TrajectoryMonitor(net, every=1)
    generator = usual(net, monitor)
    nudge(net, 0.001, generator)
    assert monitor.step() == []


def test_a_turn():
    net = many_layers()
    monitor = TrajectoryMonitor(net, every=1)
    ahead = torch.randn(20, 20)

    def go(sign):
        with torch.no_grad():
            for layer in net:
                layer.weight += sign * ahead
        return monitor.step()

    assert [go(1) for _ in range(15)] == [[]] * 15
    (alarm,) = go(-1)
    assert alarm.name == "turn"
    told = "a turn of 180 degrees, usual over the last 15 observations 0."
    assert alarm.message == told


def test_a_change_of_balance():
    net = many_layers()
    monitor = TrajectoryMonitor(net, every=1)
    generator = usual(net, monitor)
    for i, share in enumerate((0.2, 1.0, 1.0, 1.2)):
        nudge(net, 0.01 * share, generator, only=f"{i}")
    alarms = {alarm.name: alarm for alarm in monitor.step()}
    assert set(alarms) == {"balance"}
    assert "the share of '0' in the step was 0.2" in alarms["balance"].message


def test_live_and_recorded_scores_agree():
    net, generator = many_layers(), seeded(1)
    rules = AlarmRules(jump=2.0, turn=0.5, balance=1.5, window=8, least=4)
    monitor = TrajectoryMonitor(net, every=1, rules=rules)
    steps, turns, layers = [], [], []
    for i in range(60):
        if i % 11:  # else nothing moves
            nudge(net, 0.01 * (1 + (i % 7 == 0)), generator)
            nudge(net, 0.005, generator, only=str(i % 4))
        monitor.step()
        whole = monitor.positions["whole"]
        steps.append(whole.step)
        turns.append(whole.turning)
        layers.append([monitor.positions[f"layer:{k}"].step for k in range(4)])
    scores = rule_scores(steps, turns, np.transpose(layers), rules)
    expected = []
    armed = dict.fromkeys(scores, True)
    for i in range(60):
        for name, series in scores.items():
            threshold = getattr(rules, name)
            if series[i] > threshold and armed[name]:
                armed[name] = False
                expected.append((i + 1, name, series[i]))
            elif not series[i] > threshold / 2:
                armed[name] = True
    told = [(a.step, a.name, a.value) for a in monitor.alarms if a.name in scores]
    assert len({name for _, name, _ in expected}) == 3
    assert told == [(i, name, pytest.approx(score)) for i, name, score in expected]


def test_scores_of_many_paths_at_once():
    rng = np.random.default_rng(0)
    step, turning = rng.random((2, 3, 30)), rng.random((2, 3, 30))
    layer_step = rng.random((2, 3, 5, 30))
    scores = rule_scores(step, turning, layer_step)
    one = rule_scores(step[1, 2], turning[1, 2], layer_step[1, 2])
    for name, series in scores.items():
        assert series.shape == (2, 3, 30)
        assert np.isnan(series[..., :10]).all() and np.isfinite(series[..., 10:]).all()
        np.testing.assert_array_equal(series[1, 2], one[name])


def test_infinity_silences_a_rule():
    rules = AlarmRules(jump=math.inf, turn=math.inf, balance=math.inf)
    net = many_layers()
    monitor = TrajectoryMonitor(net, every=1, rules=rules)
    generator = usual(net, monitor)
    nudge(net, 10.0, generator)
    assert monitor.step() == []


def test_alarms_are_told(caplog, tmp_path):
    net, told = small_net(), []
    monitor = TrajectoryMonitor(net, every=1, on_alarm=told.append)
    for _ in range(3):
        monitor.step()
    assert told == monitor.alarms
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("nwslib", logging.WARNING)
    assert record.getMessage().startswith("step 3, frozen: no weight moved")


def test_an_alarm_can_stop_the_training(tmp_path):
    def stop(alarm):
        raise RuntimeError(alarm.name)

    net, log = small_net(), tmp_path / "log.jsonl"
    monitor = TrajectoryMonitor(net, every=1, log=log, on_alarm=stop)
    monitor.step()
    monitor.step()
    with pytest.raises(RuntimeError, match="frozen"):
        monitor.step()
    assert read_log(log)["alarms"].tolist() == ["", "", "", "frozen"]


# --- random projection --------------------------------------------------------


def layout_of(**shapes):
    return Layout.of({name: torch.zeros(shape) for name, shape in shapes.items()})


def test_small_tensors_are_kept_as_they_are():
    layout = layout_of(**{"a.weight": (10, 30), "a.bias": (20,), "b.weight": (4, 5)})
    projection = SparseProjection(layout, 20)
    assert [piece.size for piece in projection.layout] == [20, 20, 20]
    assert projection.layout.layers == ("a", "b")
    assert projection.layout.kinds == ("weight", "bias")
    weights = {piece.name: torch.randn(piece.shape) for piece in layout}
    projected = projection(weights)
    for name in ("a.bias", "b.weight"):
        torch.testing.assert_close(projected[name], weights[name].reshape(-1))


def test_lengths_are_kept_as_the_docstring_says():
    d, k, m = 900, 8, 30
    layout = layout_of(w=(d,))
    rng = np.random.default_rng(0)
    vectors = {"even": np.ones(d), "heavy": rng.standard_t(5, size=d)}
    for x in vectors.values():
        kurtosis = (x**4).mean() / (x**2).mean() ** 2
        weights = {"w": torch.from_numpy(x)}
        ratios = [
            float(SparseProjection(layout, k, seed)(weights)["w"].square().sum())
            / (x**2).sum()
            for seed in range(3000)
        ]
        expected = (2 + (kurtosis - 3) / m) / k
        assert np.mean(ratios) == pytest.approx(1, abs=0.04)
        assert np.var(ratios) == pytest.approx(expected, rel=0.1)


def test_projection_is_linear_and_drawn_from_the_seed():
    layout = layout_of(w=(40, 50))
    x, y = torch.randn(40, 50), torch.randn(40, 50)
    one, other = SparseProjection(layout, 16, 3), SparseProjection(layout, 16, 4)
    both = one({"w": x + 2 * y})["w"]
    torch.testing.assert_close(both, one({"w": x})["w"] + 2 * one({"w": y})["w"])
    assert one.digest() == SparseProjection(layout, 16, 3).digest() != other.digest()
    assert not torch.equal(one({"w": x})["w"], other({"w": x})["w"])


def test_projection_reads_any_type_and_memory_format():
    layout = layout_of(w=(8, 6, 5, 5))
    projection = SparseProjection(layout, 64)
    x = torch.randn(8, 6, 5, 5)
    expected = projection({"w": x})["w"]
    strided = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(projection({"w": strided})["w"], expected)
    assert projection({"w": x.double()})["w"].dtype == torch.float32
    torch.testing.assert_close(
        projection({"w": x.half()})["w"], expected, atol=0.1, rtol=0
    )


def test_a_projected_path_is_nearly_the_path():
    net = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 300))  # 180,600 weights
    exact = TrajectoryMonitor(net, every=1)
    projected = TrajectoryMonitor(net, every=1, project=256)
    generator = seeded(0)
    for _ in range(4):
        nudge(net, 0.01, generator)
        exact.step()
        projected.step()
    assert list(exact.positions) == list(projected.positions)
    for name in ("whole", "layer:0", "layer:1", "kind:weight"):
        one, other = exact.positions[name], projected.positions[name]
        off = 4 / math.sqrt(2 * 256)  # four standard deviations
        assert other.step == pytest.approx(one.step, rel=off)
        assert other.travelled == pytest.approx(one.travelled, rel=off)
        assert other.turning == pytest.approx(one.turning, abs=4 / math.sqrt(256))
    assert sum(t.numel() for t in projected.state_dict()["follower"]["_last"]) == 1024


def test_what_the_projection_does_not_read_is_still_checked():
    net = nn.Linear(1000, 100)
    monitor = TrajectoryMonitor(net, every=1, project=1)
    for i in range(3):
        with torch.no_grad():
            net.weight[i] = math.nan
        assert len(monitor.step()) == (i == 0)


# --- callbacks ------------------------------------------------------------------


class Lightning:
    """A trainer that accumulates the gradients of two batches."""

    def __init__(self, net, hooks):
        self.net, self.hooks = net, hooks
        self.global_step, self.is_global_zero = 0, True

    def fit(self, batches):
        self.hooks.on_train_start(self, self.net)
        for batch in range(batches):
            if batch % 2:
                nudge(self.net, generator=seeded(self.global_step))
                self.global_step += 1
            self.hooks.on_train_batch_end(self, self.net, None, None, batch)


class WithBase(LightningHooks, SimpleNamespace):
    pass


def test_lightning_counts_optimizer_steps_and_resumes(tmp_path):
    logs = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    trainer = Lightning(small_net(), WithBase(every=2, log=logs[0]))
    trainer.fit(20)
    assert trainer.hooks.monitor.steps == 10

    first = Lightning(small_net(), LightningHooks(every=2, log=logs[1]))
    assert first.hooks.state_dict() == {}
    first.fit(12)
    second = Lightning(first.net, LightningHooks(every=2, log=logs[1]))
    second.hooks.load_state_dict(first.hooks.state_dict())
    assert second.hooks.state_dict()["steps"] == 6  # not lost before it starts
    second.global_step = first.global_step
    second.fit(8)
    assert second.hooks.monitor.steps == 10
    assert read_log(logs[1]).equals(read_log(logs[0]))


def test_only_the_main_process_has_a_monitor():
    trainer = Lightning(small_net(), LightningHooks(every=1))
    trainer.is_global_zero = False
    trainer.fit(4)
    assert trainer.hooks.monitor is None and trainer.hooks.state_dict() == {}
    hooks = TransformersHooks(every=1)
    state = SimpleNamespace(is_world_process_zero=False, global_step=0)
    hooks.on_train_begin(
        SimpleNamespace(output_dir="."), state, None, model=small_net()
    )
    hooks.on_step_end(None, state, None)
    hooks.on_save(SimpleNamespace(output_dir="."), state, None)
    assert hooks.monitor is None


def hugging_face(net, hooks, folder, start, steps, save_at=None):
    """The calls of a ``Trainer``; every hook gets more than it asks for."""
    args = SimpleNamespace(output_dir=str(folder))
    state = SimpleNamespace(global_step=start, is_world_process_zero=True)
    more = {"optimizer": None, "lr_scheduler": None}
    hooks.on_train_begin(args, state, None, model=net, **more)
    while state.global_step < steps:
        nudge(net, generator=seeded(state.global_step))
        state.global_step += 1
        hooks.on_step_end(args, state, None, model=net, **more)
        if state.global_step == save_at:
            (folder / f"checkpoint-{save_at}").mkdir(parents=True)
            hooks.on_save(args, state, None, model=net, **more)
            torch.save(net.state_dict(), folder / "net.pt")


def test_hugging_face_saves_and_resumes(tmp_path):
    logs = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    hugging_face(
        small_net(), TransformersHooks(every=2, log=logs[0]), tmp_path / "a", 0, 10
    )
    folder = tmp_path / "b"
    hooks = TransformersHooks(every=2, log=logs[1])
    hugging_face(small_net(), hooks, folder, 0, 7, save_at=5)
    net = small_net(seed=1)
    net.load_state_dict(torch.load(folder / "net.pt", weights_only=True))
    hugging_face(net, TransformersHooks(every=2, log=logs[1]), folder, 5, 10)
    assert read_log(logs[1]).equals(read_log(logs[0]))
    shutil.rmtree(folder / "checkpoint-5")  # a checkpoint of before the monitor
    hooks = TransformersHooks(every=2)
    hugging_face(net, hooks, folder, 5, 7)
    assert hooks.monitor.steps == 2


# --- how often alarms are false ---------------------------------------------------


def test_false_and_true_alarms_are_counted(monkeypatch):
    monkeypatch.setattr(alarm_rates, "_AFTER", 2)
    usual = alarm_rates.ordinary(0.02)
    assert usual["net"].isin(alarm_rates.NETS).all() and len(usual) == 2
    seen = alarm_rates.noticed(alarm_rates.changed(0.02))
    assert seen["trainings"].sum() == 3
    assert seen[[*alarm_rates.NAMES, "any"]].isin([0.0, 0.5, 1.0]).all(axis=None)


def test_rates_are_alarms_per_hundred_observations():
    none = dict.fromkeys(alarm_rates.NAMES, 0)
    trainings = pd.DataFrame(
        [
            {"net": "a", "observations": 200, **none, "jump": 3},
            {"net": "a", "observations": 200, **none, "turn": 1},
            {"net": "b", "observations": 100, **none},
        ]
    )
    together = alarm_rates.rates(trainings).loc["all"]
    assert (together["jump"], together["turn"], together["any"]) == (0.6, 0.2, 0.8)
    by_net = alarm_rates.rates(trainings, "net")["any"]
    assert by_net.to_dict() == {"a": 1.0, "b": 0.0}


def test_changes_are_noticed_by_any_alarm():
    row = dict.fromkeys(alarm_rates.NAMES, False)
    trainings = pd.DataFrame(
        [
            {"change": "x", **row, "jump": True},
            {"change": "x", **row, "turn": True, "jump": True},
            {"change": "x", **row},
            {"change": "x", **row, "balance": True},
        ]
    )
    (seen,) = alarm_rates.noticed(trainings).to_dict("records")
    assert (seen["jump"], seen["turn"], seen["any"]) == (0.5, 0.25, 0.75)
    assert seen["trainings"] == 4
