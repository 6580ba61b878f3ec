# %% [markdown]
# # Reproduction report
#
# *What came of every table, figure and claim of the papers?*
#
# A row each, looked up in the results files that the chapters write: those of the
# recorded runs, which come with the book, and those of this build. No number of ours
# is typed in. The verdict is on the recorded run, the larger one.

# %% tags=["parameters", "remove-input"]
profile: str = "quick"  # of this build: quick, full or paper
seed: int = 0  # nothing is drawn here
device: str = "cpu"  # nothing is trained here
data_dir: str = None  # no images are read here
out_dir: str = "../_build/out"  # where this build's results are

# %% tags=["remove-input"]
from nwslib.report import check_parameters

check_parameters(globals(), "profile seed device data_dir out_dir")

# %% tags=["reads-results", "remove-input"]
from pathlib import Path

from IPython.display import Markdown

from nwslib import report, reproduction
from nwslib.profiles import get_profile

this = get_profile(profile).name
recorded = report.all_results("results")
build = report.all_results(Path(out_dir) / "results", [this])
rows = reproduction.judged(reproduction.SECTIONS, recorded, build)
Markdown(f"**{reproduction.sentence(rows)}**")

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
COLOURS = {
    "agrees": "success",
    "differs": "danger",
    "undecided": "warning",
    "shown": "info",
}


def badge(verdict: str) -> str:
    """A verdict in its colour."""
    return f"{{bdg-{COLOURS.get(verdict, 'light')}}}`{verdict}`"


counts = reproduction.counts(rows).rename_axis("paper")
heads = {verdict: badge(verdict) for verdict in reproduction.VERDICTS}
Markdown(report.markdown(counts.rename(columns=heads)))

# %% [markdown]
# - *agrees*, *differs*: a printed number is met within a tolerance, its chapter's or, where
#   that gives none, the one in `nwslib.reproduction`; a statement is borne out or not;
# - *undecided*: the intervals allow both;
# - *shown*: the paper's figure prints no numbers; the chapter draws ours;
# - *not recorded*: no recorded run has it yet; this build may;
# - *not reproduced*: with the reason.
#
# Where a recorded run is smaller than the paper's, a difference may be one of scale.
# {doc}`93_what_ran_where` lists the sizes.


# %% tags=["remove-input"]
def link(chapter: str) -> str:
    """A chapter's number, linked where the book has the chapter."""
    there = Path(f"{chapter}.ipynb").is_file()
    return f"{{doc}}`{chapter[:2]} <{chapter}>`" if there else chapter[:2]


def show(section: str) -> Markdown:
    """One section's rows as a table."""
    mine = rows[rows["section"] == section].set_index("item")
    mine = mine.drop(columns=["source", "section"])
    mine["verdict"] = mine["verdict"].map(badge)
    mine["chapter"] = mine["chapter"].map(link)
    return Markdown(report.markdown(mine))


# %% [markdown]
# ## Version control
#
# {cite:t}`schuerholt2020version`.
#
# ### Nets, zoos, pictures

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Nets, zoos, pictures")

# %% [markdown]
# ### Table 2, the convolutional zoo
#
# Snapshots that are each other's nearest neighbours tie. The numbers that are judged
# leave ties as they lie in the file, which comes nearest to print and gives part of
# the answer away; *fair ties* counts every order of them as equally likely.

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Table 2, the convolutional zoo")

# %% [markdown]
# ### Table 3, the fully connected zoo

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Table 3, the fully connected zoo")

# %% [markdown]
# ### Telling nets and epochs apart

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Telling nets and epochs apart")

# %% [markdown]
# ## Monitoring
#
# {cite:t}`schuerholt2020monitoring`, which prints no numbers and leaves these as
# hypotheses.
#
# ### Hypotheses

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Hypotheses")

# %% [markdown]
# ## Classifying the classifier
#
# {cite:t}`eilertsen2020classifying`, with its supplement. The accuracies of its
# meta-classifiers stand in figures without numbers; what its text says of them is judged
# claim by claim.
#
# ### The sampled nets

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("The sampled nets")

# %% [markdown]
# ### What makes training succeed

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("What makes training succeed")

# %% [markdown]
# ### The map

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("The map")

# %% [markdown]
# ### Statistics of weights

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Statistics of weights")

# %% [markdown]
# ### Deep meta-classifiers

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show("Deep meta-classifiers")

# %% [markdown]
# ## In this chapter
#
# - The papers, row by row, beside a recorded run and this build.
# - What looked it up: `book/92_reproduction.py` and, a line a row,
#   `nwslib/reproduction/`.
