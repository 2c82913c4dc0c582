"""Which output of the model speaks for which class of the dataset."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import nn

from gradattn_core.errors import ClassAlignmentError


@dataclass(frozen=True, slots=True)
class Alignment:
    """The model's output index of each dataset class, in the order of the dataset's sorted classes.

    ``method`` is ``class map``, ``wnid``, ``name``, or one of an order that nothing but the labels can confirm:
    ``index order`` (of the sorted names), ``natural order`` (2 before 10) and ``number`` (labels that are outputs).
    """

    indices: tuple[int, ...]
    method: str


@dataclass(frozen=True, slots=True)
class ClassNames:
    """What the model's outputs are called: ``wnids[i]`` and ``synonyms[i]`` of output i; empty where unknown."""

    wnids: tuple[str, ...] = ()
    synonyms: tuple[tuple[str, ...], ...] = ()

    def whole(self, index: int) -> str:
        """All names of output ``index``, which tell what is meant by a word of several meanings."""
        return ", ".join(self.synonyms[index]) if self.synonyms else f"class {index}"

    def display(self, index: int) -> str:
        """A readable name of output ``index``."""
        return self.synonyms[index][0] if self.synonyms else f"class {index}"


def class_names(model: nn.Module) -> ClassNames:
    """The ImageNet names of a model's outputs, where it has an ImageNet head; empty otherwise."""
    subset = infer_imagenet_subset(model)
    if subset is None:
        return ClassNames()
    info = ImageNetInfo(subset)
    wnids = tuple(info.label_names())
    synonyms = tuple(
        tuple(part.strip() for part in info.index_to_description(i).split(",")) for i in range(info.num_classes())
    )
    return ClassNames(wnids, synonyms)


def align_classes(
    classes: list[str], outputs: int, names: ClassNames, class_map: str | Path | None = None
) -> Alignment:
    """Match every dataset class with one output of the model.

    Tried in order: the ``class_map`` file if given; ImageNet wnids; class names and synonyms; and, where no name says
    otherwise and the model has exactly as many outputs as the dataset has classes, the order of the sorted names.

    Raises:
        ClassAlignmentError: lists the unmatched classes and the nearest candidates.
    """
    if class_map is not None:
        return _from_file(classes, outputs, names, Path(class_map))
    by_wnid = {wnid: i for i, wnid in enumerate(names.wnids)}
    if all(name in by_wnid for name in classes):
        return Alignment(tuple(by_wnid[name] for name in classes), "wnid")
    by_name = _by_name(names)
    matches = {name: by_name.get(_normal(name), []) for name in classes}
    unambiguous = [indices[0] for indices in matches.values() if len(indices) == 1]
    if len(unambiguous) == len(classes) == len(set(unambiguous)):
        return Alignment(tuple(unambiguous), "name")
    # One name that does match proves that the rest are misspelt, not that the order is the meaning.
    if outputs == len(classes) and not any(matches.values()):
        return Alignment(tuple(range(outputs)), "index order")
    unmatched = [name for name, indices in matches.items() if len(indices) != 1]
    raise ClassAlignmentError(_explain(unmatched or classes, len(classes), outputs, matches, by_name))


def mostly_named(classes: Sequence[str], names: ClassNames) -> bool:
    """Whether at least half of the classes are called as outputs are, so that the others are misspelt or ambiguous."""
    by_name = _by_name(names)
    return 2 * sum(_normal(name) in by_name for name in classes) >= len(classes)


def possible_orders(classes: Sequence[str], outputs: int) -> list[Alignment]:
    """In which order the outputs of a model without names may be those of these classes, each other order once.

    Programs that list folders sort their names as text; trainers of timm and whoever has numbers for labels sort 2
    before 10; and a label that is a number may be the output itself.
    """
    found = []
    if all(name.isdecimal() and len(name) < 10 and int(name) < outputs for name in classes):
        found.append(Alignment(tuple(int(name) for name in classes), "number"))
    if outputs == len(classes):
        place = {name: output for output, name in enumerate(sorted(classes, key=_natural))}
        found.append(Alignment(tuple(range(outputs)), "index order"))
        found.append(Alignment(tuple(place[name] for name in classes), "natural order"))
    # The first of those that are the same; 01 and 1 cannot both be output 1.
    unlike = {alignment.indices: alignment for alignment in reversed(found)}
    return [each for each in found if unlike[each.indices] is each and len(set(each.indices)) == len(classes)]


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part[:18]), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts)


def outside_names(
    classes: Sequence[str], alignment: Alignment | None, names: ClassNames, outputs: int
) -> dict[int, str]:
    """What each output of the model that is none of the dataset's classes is called, each otherwise than all others.

    Args:
        classes: of the dataset, whose names are none of these either.
        alignment: the outputs of the classes; without one there is nothing outside.
        outputs: how many the model has.
    """
    if alignment is None:
        return {}
    displayed = {output: names.display(output) for output in range(outputs) if output not in set(alignment.indices)}
    taken = Counter([*displayed.values(), *classes])
    return {output: f"{name} (output {output})" if taken[name] > 1 else name for output, name in displayed.items()}


def find_class(text: str, outputs: int, names: ClassNames) -> int:
    """The output that ``text`` means: an index, an ImageNet wnid, or an unambiguous class name.

    Raises:
        ClassAlignmentError: none or several; lists the nearest.
    """
    by_name = _by_name(names)
    matches = _matches(text, outputs, names, by_name)
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(map(str, matches))
        raise ClassAlignmentError(f"class {text!r} is ambiguous: give one of the outputs {choices}")
    near = _nearest(text, by_name, 3)
    hint = f"nearest: {', '.join(near)}" if near else f"an index from 0 to {outputs - 1} always works"
    raise ClassAlignmentError(f"class {_short(text)!r} is none of the model's {outputs} outputs; {hint}")


def _matches(text: str, outputs: int, names: ClassNames, by_name: dict[str, list[int]]) -> list[int]:
    """The outputs that a text may mean: by index, wnid or name."""
    # More digits than any model has outputs are not even read.
    if text.isdecimal() and len(text) < 10 and int(text) < outputs:
        return [int(text)]
    return [names.wnids.index(text)] if text in names.wnids else by_name.get(_normal(text), [])


def _nearest(text: str, by_name: Mapping[str, object], count: int) -> list[str]:
    """Names that have the text as a word, the shortest first (cat: tabby cat), then those spelt nearly like it."""
    wanted = _normal(text)[:100]
    words = [name for name in by_name if re.search(rf"\b{re.escape(wanted)}\b", name)] if wanted else []
    near = difflib.get_close_matches(wanted, by_name, n=count, cutoff=0.6)
    return list(dict.fromkeys([*sorted(words, key=lambda name: (len(name), name)), *near]))[:count]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def _by_name(names: ClassNames) -> dict[str, list[int]]:
    table: dict[str, list[int]] = defaultdict(list)
    for index, synonyms in enumerate(names.synonyms):
        for name in {_normal(synonym) for synonym in synonyms}:
            table[name].append(index)
    return table


def _normal(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name).strip().casefold()


def _explain(
    unmatched: list[str], total: int, outputs: int, matches: dict[str, list[int]], by_name: dict[str, list[int]]
) -> str:
    lines = []
    for name in unmatched[:8]:
        if len(matches.get(name, [])) > 1:
            lines.append(f"{name!r} (ambiguous: outputs {', '.join(map(str, matches[name]))})")
            continue
        near = _nearest(name, by_name, 2)
        lines.append(f"{name!r} (nearest: {', '.join(near)})" if near else repr(name))
    more = f" and {len(unmatched) - 8} more" if len(unmatched) > 8 else ""
    return (
        f"{len(unmatched)} of {total} classes match none of the model's {outputs} outputs: {', '.join(lines)}{more}; "
        "give --class-map FILE, or use --head probe, which needs no matching"
    )


def _from_file(classes: list[str], outputs: int, names: ClassNames, path: Path) -> Alignment:
    """JSON ``{"label": output}`` or CSV with the columns label and output; an output is an index, wnid or name."""
    entries = _read_class_map(path)
    by_name = _by_name(names)
    indices: list[int] = []
    for name in classes:
        if name not in entries:
            raise ClassAlignmentError(f"class map {path}: has no entry for class {name!r}")
        matches = _matches(entries[name], outputs, names, by_name)
        if len(matches) != 1 or matches[0] >= outputs:
            raise ClassAlignmentError(
                f"class map {path}: {entries[name]!r} for class {name!r} is none of the model's {outputs} outputs "
                "(an index, an ImageNet wnid or an unambiguous class name works)"
            )
        indices += matches
    if len(set(indices)) != len(indices):
        twice = next(i for i in indices if indices.count(i) > 1)
        raise ClassAlignmentError(f"class map {path}: output {twice} is given to more than one class")
    return Alignment(tuple(indices), "class map")


def _read_class_map(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise ClassAlignmentError(f"class map {path}: {'it is a folder, not a' if path.is_dir() else 'no such'} file")
    try:
        if path.suffix.lower() == ".json":
            entries = {str(key): str(value) for key, value in json.loads(path.read_text("utf-8")).items()}
            return _label_to_output(entries)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        entries = dict(zip(frame["label"], frame["output"], strict=True))
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ClassAlignmentError(
            f'class map {path}: expected JSON {{"label": output, …}} or a CSV with the columns label and output'
        ) from error
    if len(entries) != len(frame):
        twice = frame["label"][frame["label"].duplicated()].iloc[0]
        raise ClassAlignmentError(f"class map {path}: class {twice!r} has more than one row")
    return entries


def _label_to_output(entries: dict[str, str]) -> dict[str, str]:
    """The map the right way round: ``id2label``, as Hugging Face writes it, has outputs for keys."""
    is_id2label = all(key.isdecimal() for key in entries) and not all(value.isdecimal() for value in entries.values())
    if not is_id2label or len(set(entries.values())) != len(entries):
        return entries
    return {label: output for output, label in entries.items()}
