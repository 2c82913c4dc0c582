"""``ga.audit_images``: an audit of whatever somebody has in hand, with the command's options as keywords."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, replace
from pathlib import Path

import numpy as np
import pandas as pd

from gradattn_core import outfolder
from gradattn_core.audit.run import audit_images as run_audit
from gradattn_core.config import DEFAULT_OUT, AuditConfig, parameters
from gradattn_core.dataset.text import did_you_mean
from gradattn_core.errors import GradattnError
from gradattn_core.files import digest, new_draft
from gradattn_core.notebook.bars import progress_bars
from gradattn_core.notebook.live import is_live, written
from gradattn_core.notebook.result import AuditResult
from gradattn_core.progress import Progress
from gradattn_core.records import AuditSummary

_ARRAYS = ("features", "probabilities", "logits")
_OPTIONS = tuple(each for each in parameters() if each.default is not MISSING)


def audit_images(
    dataset: object,
    progress: Progress | bool | None = None,
    *,
    name: str | None = None,
    ids: Sequence[object] | None = None,
    **options: object,
) -> AuditResult:
    """Audit a dataset: find the labels that are probably wrong, and draw the maps that show why.

    Every option of ``gradattn audit`` is a keyword, ``help(ga.audit_images)`` names them; the same call again continues
    an interrupted audit or gives back the finished one. May run in any thread, and as often as one likes in a process.

    Args:
        dataset: a folder, archive, table or URL as for ``gradattn audit``; an ``AuditConfig``; or a dataset in memory:
            a map-style ``torch.utils.data.Dataset`` of (picture, label) pairs, or a ``datasets.Dataset`` of Hugging
            Face. Of a ``torchvision.datasets.ImageFolder`` the files themselves are read; the pictures of others are
            written to ``OUT/live/<name>.parquet`` without loss first. A picture's ``index`` is its place in it.
        progress: called as ``progress(step, done, total)``; True for bars or lines, False for nothing; bars in
            notebooks and terminals by default, nothing elsewhere.
        name: of a dataset in memory; those of one name are the earlier and later states of one dataset. By default that
            of its class, or of the Hugging Face dataset and split.
        ids: [N] what each picture of a dataset in memory is called elsewhere; a column ``id`` of the result.
        **options: ``out=``, ``model=``, ``checkpoint=``, ``head=`` … ``features=``, ``probabilities=`` and ``logits=``
            also as arrays [N, D] in the order of the pictures, or as frames whose columns are the classes and whose
            index, if it is one of texts, names the pictures; ``paths=`` also as a list.

    Returns:
        the result, which stays in the output folder.

    Raises:
        GradattnError: one sentence on what cannot be used and what would work; never ``SystemExit``.
    """
    show = progress_bars(progress)
    if isinstance(dataset, AuditConfig):
        if options or ids is not None or name is not None:
            raise GradattnError("an AuditConfig holds its options; change them there, with dataclasses.replace")
        with show as report:
            return AuditResult(_run(dataset, report), dataset.out)
    unknown = next((each for each in options if each not in {option.name for option in _OPTIONS}), None)
    if unknown is not None:
        near = did_you_mean(unknown, [option.name for option in _OPTIONS])
        raise GradattnError(f"audit_images has no option {unknown!r}.{near}")
    out = outfolder.prepare(os.fspath(_text(options.get("out") or DEFAULT_OUT, "out")))
    with show as report:
        live = None
        if is_live(dataset):
            live = written(dataset, out, name, ids, options.pop("label_column", None), report)
            source = str(live.file)
            options.setdefault("paths", live.paths if any(_is_array(options.get(each)) for each in _ARRAYS) else None)
        elif ids is not None or name is not None:
            raise GradattnError("name and ids are for datasets in memory; a folder or table names its pictures itself")
        else:
            source = os.fspath(_text(dataset, "dataset"))
        config = _config({**options, "dataset": source, "out": str(out)}, out)
        return AuditResult(_run(config, report), str(out))


def _run(config: AuditConfig, report: Progress) -> AuditSummary:
    with warnings.catch_warnings():
        # Of the audit before: the result's news say it, and whoever calls a function again knows that it begins anew.
        warnings.filterwarnings("ignore", "a new audit begins", UserWarning)
        return run_audit(config, report)


def _text(value: object, name: str) -> str | os.PathLike[str]:
    if isinstance(value, str | os.PathLike):
        return value
    raise GradattnError(
        f"{name} is a {type(value).__name__}; give a path, and as dataset also a map-style dataset of torch or of "
        "Hugging Face with a length"
    )


def _is_array(value: object) -> bool:
    return value is not None and not isinstance(value, str | os.PathLike)


def _config(values: Mapping[str, object], out: Path) -> AuditConfig:
    """The configuration, with arrays as files that are named by their content."""
    plain: dict[str, object] = {}
    for name, value in values.items():
        if name in _ARRAYS and _is_array(value):
            plain[name] = str(_array_file(value, name, outfolder.live(out)))
        elif name == "paths" and _is_array(value):
            plain[name] = str(_paths_file(value, outfolder.live(out)))
        elif isinstance(value, os.PathLike):
            plain[name] = os.fspath(value)
        elif value is not None:
            plain[name] = value
    for option in _OPTIONS:
        value = plain.get(option.name)
        kinds = (int, float) if option.type is float else (option.type,)
        if option.type is list and isinstance(value, tuple):
            value = plain[option.name] = list(value)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) != (option.type is bool)):
            raise GradattnError(
                f"{option.name} {value!r} is a {type(value).__name__}; {option.type.__name__} is needed"
            )
    config = AuditConfig.of(plain)
    config.refuse_idle()
    return config


def _array_file(value: object, name: str, folder: Path) -> Path:
    """The file of an array or frame: the same content has the same name."""
    if isinstance(value, pd.DataFrame):
        if _is_counted(value.index) and not value.index.is_monotonic_increasing:
            raise GradattnError(
                f"{name} is a frame whose index is in another order than its rows; sort_index() it, or reset_index() "
                "where the rows are in the order of the pictures"
            )
        frame = value.rename(columns=str)
        has_names = list(frame.columns) != [str(at) for at in range(frame.shape[1])] or not _is_counted(frame.index)
        return _framed(frame, name, folder) if has_names else _array_file(frame.to_numpy(), name, folder)
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError) as error:
        raise GradattnError(f"{name} is no array of numbers ({error}); give [N, D] numbers") from error
    if array.dtype.kind not in "fiu":
        raise GradattnError(f"{name} holds {array.dtype}; give an array of numbers, a row for each picture")
    return _named(folder, name, ".npy", lambda draft: _save(draft, array))


def _save(draft: Path, array: np.ndarray) -> None:
    with draft.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _framed(frame: pd.DataFrame, name: str, folder: Path) -> Path:
    """A frame whose columns have names, or whose rows have."""
    try:
        values = frame.reset_index(drop=True).astype("float32")
    except (TypeError, ValueError) as error:
        raise GradattnError(
            f"{name} is a frame that holds more than numbers ({error}); leave those columns out"
        ) from error
    if not _is_counted(frame.index):
        values.insert(0, "path", [str(each) for each in frame.index])
    return _named(folder, name, ".parquet", lambda draft: values.to_parquet(draft, index=False))


def _is_counted(index: pd.Index) -> bool:
    """Whether it only says which row is which, and names no picture."""
    return pd.api.types.is_numeric_dtype(index.dtype)


def _paths_file(value: object, folder: Path) -> Path:
    if not isinstance(value, list | tuple | np.ndarray | pd.Series | pd.Index):
        raise GradattnError(f"paths is a {type(value).__name__}; give a file, or a list of a path for each row")
    array = np.array([str(each) for each in value])
    return _named(folder, "paths", ".npy", lambda draft: _save(draft, array))


def _named(folder: Path, name: str, ending: str, write: Callable[[Path], object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    draft = new_draft(folder / f"{name}{ending}")
    try:
        write(draft)
        target = folder / f"{name}-{digest(draft)[:12]}{ending}"
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _described() -> str:
    """The options, a line each, as ``help`` shows them."""
    return "\n".join(
        f"    {each.name} ({each.type.__name__}, default {each.default!r}): {each.help}." for each in _OPTIONS
    )


audit_images.__doc__ = f"{inspect.cleandoc(audit_images.__doc__ or '')}\n\nOptions:\n{_described()}\n"


def open_audit(out: str | os.PathLike[str] = DEFAULT_OUT, audit: str | None = None) -> AuditResult:
    """The result of an audit that lies in an output folder, the newest by default.

    Raises:
        StoreError: there is no such folder or audit.
    """
    from gradattn_core.audit.merge import summarise
    from gradattn_core.store.store import Store

    folder = Path(os.fspath(out))
    store = Store(folder)
    summary = summarise(folder, audit or store.audits.latest_id())
    return AuditResult(replace(summary, seconds={}), str(folder))
