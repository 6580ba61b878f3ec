# %% [markdown]
# # What ran where
#
# *When, on which machine and with which versions were the numbers of this book
# computed?*
#
# The recorded runs come with the book, one file a chapter, and stand beside the papers'
# numbers. This build executed the chapters whose pages you read. Both say here where
# they come from; a chapter that has no row wrote no numbers.

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

from nwslib import report
from nwslib.profiles import PROFILES, get_profile

SHOWN = "profile seconds date commit seed device machine".split()
runs = {
    "recorded": report.provenance_table(report.all_results("results")),
    "this build": report.provenance_table(
        report.all_results(
            Path(out_dir) / "results", [get_profile(profile).name]
        )
    ),
}


def told(name: str) -> str:
    """A sentence about one of the two."""
    table = runs[name]
    if table.empty:
        return f"*{name}*: no chapter has written numbers yet."
    minutes = table["seconds"].sum() / 60
    days = sorted(set(table["date"]))
    return (
        f"*{name}*: numbers of {len(table)} chapters, "
        f"{minutes:.1f} minutes, "
        f"profile {', '.join(table['profile'].unique())}, "
        f"{' to '.join(days[:: max(len(days) - 1, 1)])}, "
        f"commit {', '.join(table['commit'].unique())}, "
        f"{', '.join(table['machine'].unique())}."
    )


Markdown("\n".join(f"- {told(name)}" for name in runs))


# %% tags=["remove-input"]
def link(chapter: str) -> str:
    """A chapter's name, linked where the book has the chapter."""
    there = Path(f"{chapter}.ipynb").is_file()
    return f"{{doc}}`{chapter} <{chapter}>`" if there else chapter


def show(table, columns: list[str]) -> Markdown:
    """Some columns of a table of runs."""
    mine = table.rename(index=link).reindex(columns=columns)
    return Markdown(report.markdown(mine.rename_axis("chapter")))


# %% [markdown]
# A chapter's seconds are those of its notebook, with the training of what it did not
# find on disk. A commit marked *dirty* had files that differed from it.
#
# ## Recorded runs

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show(runs["recorded"], SHOWN)

# %% [markdown]
# ## This build

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show(runs["this build"], SHOWN)

# %% [markdown]
# ## Versions
#
# Of Python and of the packages that numbers may depend on: recorded, then this build.

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
versions = ["python", *list(runs["recorded"])[len(SHOWN) + 1 :]]
show(runs["recorded"], versions)

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
show(runs["this build"], versions)

# %% [markdown]
# ## Sizes
#
# What the profiles stand for, and what the recorded runs had: one that is not complete
# has fewer nets than its profile.

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
import pandas as pd

SIZES = {
    "data": "images, chapters 01 to 07",
    "n_models": "nets in a zoo",
    "epochs": "epochs",
    "n_varied_models": "nets with recipes of their own",
    "n_shift_models": "nets in chapter 06",
    "n_fixed_runs": "sampled nets, fixed",
    "n_main_runs": "sampled nets, main",
    "max_epochs": "epochs at most",
}
sizes = pd.DataFrame({n: vars(p) for n, p in PROFILES.items()}).loc[
    list(SIZES)
]
Markdown(report.markdown(sizes.rename(index=SIZES).rename_axis("profile")))

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
had = pd.DataFrame(
    {
        chapter: content["provenance"]["profile"]
        for chapter, content in report.all_results("results").items()
    }
).T.rename(columns=SIZES)
show(had.fillna(""), list(SIZES.values()))
