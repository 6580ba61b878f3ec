# %% [markdown]
# # Hard to break
#
# *A zoo of thousands of nets is months of work in thousands of files. What happens
# to it when a disk turns a bit, a machine stops, or two of us write at once?*
#
# A damaged file is named, in one sentence, and costs what is in it and nothing
# else. A process that is killed costs the shard, a file of a few nets, that it was
# at. What you read is what was written, or you are told. This chapter tries it on a
# small zoo, and shows what a recorded run tried: 500 damaged files of every kind
# that the library writes, and some thirty other misfortunes. It ends with what the
# library cannot promise.
#
# ## What can go wrong
#
# A net of twenty snapshots is a few megabytes; the two papers' zoos are tens of
# thousands of such nets. At that size, rare things happen.
#
# - **Bits turn** on disks, in memory, on the way through a network. A weight of
#   0.1 with its highest exponent bit turned is $3.4\cdot 10^{37}$, which someone
#   notices; with a lower one it is 0.05, and nobody does. Purity, an accuracy or a
#   correlation come out a little different, and no error is raised anywhere.
# - **Files end early**: a copy was interrupted, a disk was full.
# - **Processes die** in the middle of writing, for want of memory or time.
# - **Two people start the same thing**, or a scheduler starts it twice.
#
# Against the first two helps only a checksum that is compared when a file is read.
# Against the others help an order of steps in which every state in between is a
# valid one, and a lock.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the small zoo, and of its damage
device: str = "cpu"  # no effect: nothing is trained here
data_dir: str = None  # no effect: no images are needed
out_dir: str = "../_build/out"  # where results go
n_cases: int = 40  # files that are damaged here

# %%
from nwslib.report import check_parameters

check_parameters(globals(), "profile seed device data_dir out_dir n_cases")

# %%
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nwslib import report
from nwslib.flatten import Layout
from nwslib.nets import get_net
from nwslib.profiles import get_profile
from nwslib.zoo import Zoo, ZooWriter, verify

started = time.time()
sizes = get_profile(profile)
pd.set_option("display.max_colwidth", None)  # sentences are shown whole

# %% [markdown]
# ## A small zoo, and a bit turned in it
#
# Twelve nets of the fully connected architecture, three in a shard, five snapshots
# each. Their weights are random walks; it does not matter here.

# %%
layout = Layout.of(get_net("A1").build())
rng = np.random.default_rng(seed)


def write_zoo(folder: Path) -> None:
    """Twelve nets in four shards."""
    with ZooWriter.create(
        folder, layout, spec={"seed": seed}, snapshots=range(5)
    ) as writer:
        for first in range(0, 12, 3):
            nets = range(first, first + 3)
            runs = [{"run": k, "seed": k} for k in nets]
            history = [
                {"run": k, "epoch": e, "split": "test",
                 "accuracy": e / 5, "loss": 1.0}
                for k in nets for e in range(5)
            ]  # fmt: skip
            steps = rng.standard_normal((3, 5, layout.size))
            writer.add(runs, steps.cumsum(axis=1), history)


place = tempfile.TemporaryDirectory()
folder = Path(place.name) / "zoo"
write_zoo(folder)
files = sorted(
    file
    for file in folder.rglob("*")
    if file.is_file() and file.stat().st_size
)
pd.DataFrame(
    [(f.relative_to(folder).as_posix(), f.stat().st_size) for f in files],
    columns=["file", "bytes"],
).set_index("file")

# %% [markdown]
# `zoo.json` names the size and the checksum (sha256) of every other file, and has
# one of itself. A shard has a checksum of each snapshot besides, so that whoever
# reads one snapshot of one net need not read the gigabytes around it to know that
# it is the one that was stored. One bit, in the weights of net 4:

# %%
shard = folder / "weights" / "shard-00001.safetensors"
whole = shard.read_bytes()
turned = bytearray(whole)
turned[len(turned) // 2] ^= 1
shard.write_bytes(turned)

zoo = Zoo.open(folder)
try:
    zoo.weights([4])
except ValueError as error:
    print(str(error).replace(place.name, "..."))

# %% [markdown]
# `verify` reads every byte of every file, as does `python -m nwslib verify ZOO`.
# The nets of the other shards are as they were:

# %%
print(verify(folder))
print(zoo.weights([0, 1, 2, 6, 7, 8, 9, 10, 11]).shape)
shard.write_bytes(whole)
print(verify(folder))

# %% [markdown]
# Now many times: a random file, and one random bit of it turned, or its end cut off
# at a random place. Each time `verify` has to name that file and no other; where it
# does not, everything that is read has to be equal to what was written.


# %%
def read_all(folder: Path) -> tuple:
    """All that a zoo holds."""
    zoo = Zoo.open(folder)
    return zoo.runs.to_csv(), zoo.history.to_csv(), zoo.weights().tobytes()


before = read_all(folder)
rows = []
for _ in range(n_cases):
    file = files[rng.integers(len(files))]
    whole = file.read_bytes()
    if rng.random() < 0.25:
        what, content = "cut short", whole[: rng.integers(len(whole))]
    else:
        what, content = "a bit turned", bytearray(whole)
        bit = rng.integers(8 * len(whole))
        content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    said = verify(folder)
    if len(said) == 1 and file.name in said[0]:
        outcome = "named"
    elif not said and read_all(folder) == before:
        outcome = "harmless"
    else:
        outcome = "missed"
    file.write_bytes(whole)
    rows.append((file.relative_to(folder).as_posix(), what, outcome))
tried = pd.DataFrame(rows, columns=["file", "what", "outcome"])
place.cleanup()
pd.crosstab(tried["file"], [tried["what"], tried["outcome"]])

# %% [markdown]
# ## Five hundred damaged files
#
# A zoo is not all that is written. `make damage` writes files of every kind,
# damages one at a time (three in five times a single bit, else up to sixteen bits
# or a cut), reads as the documentation says, and judges:
#
# - **named**: what is said, in one line, names the damaged file;
# - **harmless**: what is read is equal to what was written (the bit was in padding
#   or in a field that no one reads);
# - **missed**: anything else. A wrong number without a word, another file lost or
#   changed, a library's traceback, no end within a minute.

# %%
path = Path("results") / "hard-to-break.json"
recorded = report.read_results(path) if path.is_file() else {}
numbers = recorded.get("numbers", {"damage": [], "situations": []})
damage = pd.DataFrame(
    numbers["damage"],
    columns=["kind", "file", "cases", "detected", "harmless", "missed"],
).rename(columns={"detected": "named"})
damage.set_index(["kind", "file"]) if len(
    damage
) else "nothing recorded yet"

# %%
total = damage[["cases", "named", "harmless", "missed"]].sum()
if len(damage):
    about = recorded["provenance"]
    print(total.to_string())
    print(f"recorded on {about['date']} at commit {about['commit'][:12]}")

# %% [markdown]
# How each kind is protected follows from its format. JSON and tables carry the
# checksum of their content in themselves. A monitor's log has one a line, so that a
# damaged line is left out and the thousands around it stay. Checkpoints and
# guessers are archives whose parts have checksums, which are compared before
# anything is unpacked. Formats that other programs prescribe have no place for one;
# there a list lies beside the files (`lineage.sha256`, `nws.sha256`) that
# `sha256sum --check` understands as well.
#
# ## Other misfortunes
#
# Each is a test. Those that need something that a machine lacks, such as the
# rights to become another user, are not run there.

# %%
pd.DataFrame(
    [
        (row["what"], row["then"], len(row["tests"]), row["outcome"])
        for row in numbers["situations"]
    ],
    columns=["what happens", "what then", "tests", "outcome"],
).set_index("what happens")

# %% [markdown]
# Three habits do most of it.
#
# 1. **Write beside, flush, rename.** A file is there whole or not at all.
# 2. **Let one small file say what belongs.** A shard is part of a zoo once
#    `zoo.json` names it. Whatever else lies in the folder is a leftover, and is
#    cleared when the writing goes on.
# 3. **Never overwrite what is in use.** A growing zoo's tables get new names, so
#    that whoever reads it meanwhile finds the old ones or starts over with the new.
#
# ## What is not promised
#
# - **Damage is told, not undone.** There is no second copy in a zoo. Keep one; a
#   shard that is named can be copied back from it, alone.
# - **Accidents are told, not forgers.** Whoever can write a zoo can write its
#   checksums. What foreign files could *do* is another matter, and chapter 07's.
# - **A log that ends earlier** at the end of a line looks like one of a training
#   that ended earlier, which is what it should be read as.
# - **Zoos, logs and results of earlier versions** have fewer checksums: `verify`
#   tells of damaged weights, reading them does not. They are read, and go on.
# - **What Numba compiles** it keeps in files of its own and does not check. If
#   compiled code misbehaves, delete the `__pycache__` folders.
# - **Bits that turn in memory** before a checksum is made are stored with it.
# - **Locks need a file system that has them.** Some network file systems do not;
#   then a zoo is refused.
#
# ## What it means for you
#
# - Run `python -m nwslib verify ZOO` after each copy, and before you publish.
# - If a command was stopped, for whatever reason, start it again as it was.
# - Do not repair a zoo by hand. Copy the file that is named from where it is whole.
#
# ## Try
#
# - `n_cases=1000`, and look for a case that is missed.
# - Kill `python -m nwslib sample ZOO` with `kill -9`, and start it again.
#
# ## In this chapter
#
# - A bit turned in a zoo is told when the weights are read, and its file is named.
# - 500 damaged files of all kinds, and what became of each.
# - What happens when processes are killed, disks are full, clocks jump.

# %%
numbers = {
    "cases here": len(tried),
    "outcomes here": tried["outcome"].value_counts().to_dict(),
    "recorded": {name: int(count) for name, count in total.items()},
}
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "94_hard_to_break", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
