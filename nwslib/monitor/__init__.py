"""Watch a net while it trains: the geometry of its path, a small log, named alarms.

Three lines in any training loop::

    from nwslib.monitor import TrajectoryMonitor

    monitor = TrajectoryMonitor(net, every=100, log="run.jsonl")
    for images, labels in batches:
        ...
        optimizer.step()
        monitor.step()
"""

from nwslib.monitor.alarms import Alarm, AlarmRules, rule_scores
from nwslib.monitor.callbacks import LightningHooks, TransformersHooks
from nwslib.monitor.live import TrajectoryMonitor
from nwslib.monitor.log import read_log

__all__ = [
    "Alarm", "AlarmRules", "LightningHooks", "TrajectoryMonitor", "TransformersHooks",
    "read_log", "rule_scores",
]  # fmt: skip
