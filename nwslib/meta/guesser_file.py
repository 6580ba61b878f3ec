"""A guesser on disk: a skops archive, in which only what a guesser needs may stand.

Reading runs no code that the file brings along: skops makes the objects by their
types, and here every type in the file has to be on a short list, shorter than skops'
own. What was made is then asked what the file says that it answers. So a file of
another version of scikit-learn is used as long as it works the same there.
"""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwslib import _files
from nwslib.checkpoints.refusal import first_line, quoted
from nwslib.meta.guess import HYPERPARAMETERS, Guesser
from nwslib.meta.unusual import SHAPE, Range

#: The guesser that comes with the library.
DEFAULT = Path(__file__).with_name("guesser.skops")
#: Version of the file. Version 1 has no margin: its limit is for a range without one.
FORMAT = 2

_LARGEST = 2**25  # bytes, unpacked; a guesser of the default kind has one million
_MAKE = "python -m nwslib guess --fit ZOO --model FILE"
#: What skops would not make unasked: our class, the F test that selects features.
_OWN = "nwslib.meta.calibration.Calibrated"
_F_TEST = "sklearn.feature_selection._univariate_selection.f_classif"
_OBJECTS = {
    _OWN,
    "sklearn.feature_selection._univariate_selection.SelectKBest",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.QuantileTransformer",
}
#: What skops may make at all, by its names of ways to make it.
_KINDS = {
    "CachedNode": _OBJECTS | {"numpy.ndarray"},
    "DictNode": {"builtins.dict"},
    "FunctionNode": {_F_TEST},
    "JsonNode": {"builtins.str"},
    "ListNode": {"builtins.list"},
    "NdArrayNode": {"numpy.ndarray", "numpy.float64", "numpy.int64", "numpy.bool"},
    "ObjectNode": _OBJECTS,
    "TupleNode": {"builtins.tuple"},
    "TypeNode": {"builtins.str"},
}


def save(guesser: Guesser, path: str | Path) -> Path:
    """Write a guesser in one step; return where.

    Raises
    ------
    ValueError
        If its classifiers are of a kind that :func:`load` would not read.
    """
    import sklearn
    import skops.io

    content = {
        "format": FORMAT,
        "scikit_learn": sklearn.__version__,
        "scaling": guesser.scaling,
        "classifiers": guesser.classifiers,
        "judged": guesser.judged,
        "lowest": guesser.usual.lowest,
        "highest": guesser.usual.highest,
        "limit": guesser.usual.limit,
        "margin": guesser.usual.margin,
        "n_nets": guesser.n_nets,
        "answers": _answers(guesser),
    }
    data = skops.io.dumps(content, compression=zipfile.ZIP_DEFLATED)
    schema = _schema(data)
    if strange := next(_strange(schema), None):
        raise ValueError(
            f"a guesser with a {strange} cannot be saved: train it with a trainer of "
            "logistic regressions."
        )
    _files.put(Path(path), data)
    return Path(path)


def find(path: str | Path | None = None) -> Path:
    """A guesser's file: the given one, else the library's own.

    Raises
    ------
    FileNotFoundError
        If it is not there, with what to do.
    """
    found = DEFAULT if path is None else Path(path)
    if not found.is_file():
        raise FileNotFoundError(
            f"there is no guesser {found}: make one from sampled nets with '{_MAKE}'."
        )
    return found


def load(path: str | Path | None = None) -> Guesser:
    """Read a guesser.

    Parameters
    ----------
    path : path, optional
        The library's own by default.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged or altered, wants more than a guesser needs, is of a newer
        format, or does not work with this version of scikit-learn.
    """
    path = find(path)
    import sklearn
    import skops.io

    made_with = sklearn.__version__
    try:
        if path.stat().st_size > _LARGEST:
            raise _Unusable("it is far too large")
        data = path.read_bytes()
        schema = _schema(data)
        if _told(schema, "format") > FORMAT:
            raise _Unusable(
                f"it is of format {_told(schema, 'format')}, newer than this "
                f"library's {FORMAT}"
            )
        made_with = _told(schema, "scikit_learn")
        if strange := next(_strange(schema), None):
            raise _Unusable(f"it wants {strange}, which no guesser needs")
        with warnings.catch_warnings():  # of other versions, and the file's own
            warnings.simplefilter("ignore")
            content = skops.io.loads(data, trusted=[_OWN, _F_TEST])
            return _checked(content)
    except OSError as error:
        raise ValueError(
            f"guesser {path} cannot be read ({error.strerror}): give access to it."
        ) from error
    except Exception as error:  # a foreign file: anything can be wrong with it
        if isinstance(error, _Unusable):
            what = str(error)
        elif made_with != sklearn.__version__:
            what = (
                f"it was made with scikit-learn {quoted(made_with, 20)} and does not "
                f"work with {sklearn.__version__}"
            )
        else:
            what = first_line(f"it is damaged: {type(error).__name__}: {error}")
        raise ValueError(
            f"guesser {path} cannot be used ({what}): make it anew with '{_MAKE}'."
        ) from error


class _Unusable(Exception):
    """What is wrong with a file, as a clause."""


def _schema(data: bytes) -> dict:
    """What the archive says that it holds, before anything is made of it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
            raise _Unusable("it claims to unpack to far too much")
        return json.loads(archive.read("schema.json"))


def _told(schema: dict, key: str) -> object:
    """A plain value of the outermost dict."""
    return json.loads(schema["content"][key]["content"])


def _strange(schema: object) -> Iterator[str]:
    """Types that a guesser has no use for, anywhere in a schema."""
    stack = [schema]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            stack += each.values()
            if "__loader__" in each or "__class__" in each:
                name = f"{each.get('__module__')}.{each.get('__class__')}"
                if name not in _KINDS.get(str(each.get("__loader__")), ()):
                    yield quoted(name)
        elif isinstance(each, list):
            stack += each


def _answers(guesser: Guesser) -> dict[str, NDArray]:
    """What a guesser says of five points between the ends of its range."""
    ends = guesser.usual.lowest, guesser.usual.highest
    return guesser.probabilities(np.linspace(*ends, 5))  # [5, categories] each


def _checked(content: dict) -> Guesser:
    """The guesser, if it is complete and answers as it did when it was saved."""
    usual = Range(
        *(content[key] for key in ("lowest", "highest", "limit")),
        margin=content["margin"] if content["format"] > 1 else 0.0,
    )
    guesser = Guesser(
        content["scaling"],
        content["classifiers"],
        content["judged"],
        usual,
        content["n_nets"],
    )
    names = set(guesser.classifiers)
    numbers = [usual.limit, usual.margin, guesser.n_nets]
    for name in sorted(names):
        numbers += [guesser.judged[name][key] for key in _JUDGED]
    categories = [c for k in names for c in guesser.classifiers[k].classes_.tolist()]
    answers = _answers(guesser)
    sound = (
        names == set(HYPERPARAMETERS)
        and all(type(number) in (int, float) for number in numbers)
        and usual.lowest.shape == usual.highest.shape == (math.prod(SHAPE),)
        and all(
            type(c) in (bool, int, float) or (type(c) is str and c.isprintable())
            for c in categories
        )
        and all(
            np.allclose(answers[name], content["answers"][name], atol=1e-6)
            for name in names
        )
    )
    if not sound:
        raise ValueError("it does not answer as it did when it was saved")
    return guesser


_JUDGED = ("accuracy", "calibration_error", "commonest")
