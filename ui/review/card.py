"""The card of one suspect: its pictures, what speaks for which class, and images to compare it with."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from gradattn_core import wording
from gradattn_core.errors import GradattnError
from gradattn_core.estimates import percent
from gradattn_core.kinds import describe, suggestion
from gradattn_core.reasons import account, different_answers, strongest_parts, two_numbers, without_numbers
from gradattn_core.records import Evidence
from gradattn_core.wording import distinct_names, full_name, short_name
from ui import components, pictures
from ui.components import Row, meter, plain, present
from ui.pictures import Subject, View
from ui.thumbnails import thumbnails

MODES = ("Original", "Overlay", "Side by side")
_TYPICAL = 6


def picture(shown: Subject, row: Row, view: View, mode: str) -> None:
    """The picture in one of ``MODES`` with the scale of its colours, or what to do where it cannot be shown."""
    evidence = pictures.evidence(shown.directory, shown.audit, shown.path)
    try:
        images = _images(shown, evidence, view, mode)
    except GradattnError as error:
        pictures.placeholder(shown, str(error))
    else:
        label = full_name(str(row["given_label"]))
        with st.container(key="pictures", horizontal=True, wrap=False, gap="small"):
            for name, image in images:
                st.image(image, width="stretch", alt=name.format(label))
        if evidence:
            _scale(evidence)
            for drawn, words in _waterfall(evidence, view):
                with st.container(key="waterfall"):
                    st.image(drawn, width=pictures.WATERFALL, alt=words)
        else:
            _no_map(shown)
    explanation(row, evidence, view, numbers(shown.directory, shown.audit, shown.path))


def bare(shown: Subject, row: Row) -> None:
    """The picture alone, for who must not know what a model thinks of it."""
    try:
        image = pictures.original(shown)
    except GradattnError as error:
        pictures.placeholder(shown, str(error))
        return
    with st.container(key="pictures"):
        st.image(image, width="stretch", alt=f"The picture, filed as {full_name(str(row['given_label']))}")


def warm(shown: Subject, row: Row, view: View, mode: str) -> None:
    """Fill the caches with all that the card of a suspect will show. Raises GradattnError where it cannot be shown."""
    evidence = pictures.evidence(shown.directory, shown.audit, shown.path)
    numbers(shown.directory, shown.audit, shown.path)
    _images(shown, evidence, view, mode)
    if evidence:
        _waterfall(evidence, view)
    labels = (str(row["given_label"]), str(row["suggested_label"]))
    strips = _strips(shown.directory, shown.audit, shown.path, *labels)
    _small(shown.directory, shown.root, shown.audit, _paths(strips))


def _images(shown: Subject, evidence: Evidence | None, view: View, mode: str) -> list[tuple[str, bytes]]:
    """(alternative text, WebP) of each picture to show; an image without evidence has only its original."""
    images = []
    if mode != "Overlay" or evidence is None:
        original = (
            pictures.region_outlines(shown, evidence, view) if evidence and view.regions else pictures.original(shown)
        )
        images.append(("The suspect, filed as {}", original))
    if mode != "Original" and evidence is not None:
        overlay = pictures.evidence_overlay(shown, evidence, view)
        images.append(("The suspect in grey, with what speaks for and against {} in two colours", overlay))
    return images


def _scale(evidence: Evidence) -> None:
    components.scale()
    labels = distinct_names(evidence.for_label, evidence.against_label)
    with st.container(key="ends", horizontal=True, wrap=False):
        for key, label in zip(("end-for", "end-against"), labels, strict=True):
            plain(f"speaks for {label}", key)


def _waterfall(evidence: Evidence, view: View) -> list[tuple[bytes, str]]:
    """How the model comes to its answer, in numbers that add up, drawn and in words; none where the map has none."""
    shown = account(evidence, view.origin)
    if shown is None:
        return []
    names = distinct_names(evidence.for_label, evidence.against_label)
    drawn = pictures.waterfall(shown, names, view.palette, components.paper())
    return [(drawn, shown.sentences(names, components.colours()))]


def _no_map(shown: Subject) -> None:
    reason = components.store().images.without_map(shown.audit, shown.path)
    if reason:
        plain(f"No map for this picture: {reason.rstrip('.')}. The probability does not need it.", "quiet-no-map")
    else:
        st.caption("No evidence was computed for this image.")


@st.cache_data(max_entries=256, show_spinner=False)
def numbers(directory: str, audit: str, path: str) -> dict[str, float]:
    """What the kind of doubt was told from; it never changes."""
    found = components.store().candidates.one(audit, path)
    return dict(found.kind_numbers) if found else {}


def explanation(row: Row, evidence: Evidence | None, view: View, kind_numbers: dict[str, float]) -> None:
    """The kind of doubt, what the strongest parts do, both probabilities, and what else is worth a sentence."""
    # For a picture of none of these classes, the model's own class is spoken of.
    other = str(row["suggested_label"] or row["outside_label"])
    given, suggested = distinct_names(str(row["given_label"]), other)
    with st.container(gap="xxsmall", key="explanation"):
        if present(row["kind"]):
            plain(str(row["kind"]).capitalize(), "doubt")
            plain(describe(str(row["kind"]), kind_numbers, given, suggested), "quiet-kind")
        if evidence:
            _parts(row, evidence, view)
        _numbers(row, evidence)
        _remarks(row)


def _parts(row: Row, evidence: Evidence, view: View) -> None:
    """What the strongest region of either sign does, or why the map has no numbers."""
    names = distinct_names(evidence.for_label, evidence.against_label)
    size = (int(row["width"]), int(row["height"]))
    parts = strongest_parts(evidence, size, names=names, colours=components.colours(), origin=view.origin)
    for position, sentence in enumerate([*parts, without_numbers(evidence)]):
        if sentence:
            plain(sentence, f"quiet-part-{position}")


def _numbers(row: Row, evidence: Evidence | None) -> None:
    """The model's own probability and the ranking's, and where they name different classes."""
    given, suggested, predicted = (
        str(row[name]) if present(row[name]) else "" for name in ("given_label", "suggested_label", "predicted_label")
    )
    log_odds = evidence.sums.log_odds if evidence and evidence.sums and evidence.objective == "difference" else None
    if log_odds is not None and present(row["given_probability"]):
        plain(two_numbers(short_name(given), log_odds, float(row["given_probability"])), "quiet-two-numbers")
    if not (predicted and suggested):
        return
    if log_odds is not None and predicted in (given, suggested):
        # The map's own pass, which the waterfall shows, has the last word between the two.
        predicted = given if log_odds > 0 else suggested
    ranking = given if row["given_probability"] > row["suggested_probability"] else suggested
    sentence = different_answers(full_name(predicted), full_name(ranking))
    if sentence:
        plain(sentence, "quiet-head")


def _remarks(row: Row) -> None:
    if present(row["outside_label"]) and row["suggested_label"]:
        plain(f"Looks most like {row['outside_label']}, which is not a class here.", "quiet-outside")
    if present(row["decision"]):
        who = f" by {row['reviewer']}" if present(row["reviewer"]) else ""
        new = f" to {full_name(str(row['new_label']))}" if present(row["new_label"]) else ""
        note = f" ({row['note']})" if present(row["note"]) else ""
        plain(f"Decided: {components.DECISIONS[row['decision']]}{new}{who}{note}", "mark-decision")
    if row["conflict"]:
        plain(wording.disagreement(_last_words(row)), "mark-conflict")


def _last_words(row: Row) -> list[tuple[str, str, str]]:
    """(reviewer, decision, new label) of those who differ about this image, the newest first."""
    log = components.store().decisions.page(conflicts=True, content_hash=str(row["content_hash"]))
    log = log[log["given_label"] == row["given_label"]]
    return [
        (str(word["reviewer"]), str(word["decision"]), full_name(new) if (new := str(word["new_label"])) else "")
        for word in log.to_dict("records")
    ]


def labels(row: Row) -> None:
    """Given and suggested label with their probabilities, and the runner-up."""
    for sign, title, label, probability in (
        (+1, "Given label", row["given_label"], row["given_probability"]),
        (-1, "Suggested", row["suggested_label"], row["suggested_probability"]),
    ):
        share = float(probability) if present(probability) else 0.0
        with st.container(gap=None):
            with st.container(horizontal=True, horizontal_alignment="distribute"):
                st.caption(title, width="content")
                st.caption(components.escaped(percent(share, 1)), width="content")
            name = full_name(str(label)) if label else suggestion("", str(row["outside_label"]))
            plain(name, f"name-{'given' if sign > 0 else 'suggested'}")
            meter(share, sign)
    # Of a picture of none of the classes, what is likeliest among them says nothing.
    if present(row["runner_up_label"]) and row["suggested_label"]:
        share = row["runner_up_probability"]
        known = f" · {percent(share, 1)}" if present(share) else ""
        plain(f"Runner-up: {full_name(str(row['runner_up_label']))}{known}", "quiet-runner-up")


def comparison(shown: Subject, row: Row) -> None:
    """Typical images of both classes and the images most like this one, as small pictures."""
    given, suggested = str(row["given_label"]), str(row["suggested_label"])
    names = distinct_names(given, suggested)
    titles = (f"Typical: {names[0]}", f"Typical: {names[1]}" if suggested else "", "Most like it")
    strips = _strips(shown.directory, shown.audit, shown.path, given, suggested)
    if not any(strips):
        return
    files = _small(shown.directory, shown.root, shown.audit, _paths(strips))
    for position, (column, title, images) in enumerate(zip(st.columns(3, gap="medium"), titles, strips, strict=True)):
        if not title:
            # Nothing is typical of none of the classes.
            continue
        with column, st.container(gap="xsmall"):
            plain(title, f"strip-{position}")
            _strip([(files[path], label) for path, label in images], title, key=f"thumbs-{position}")
    sentence = wording.nearest_labels([label for _, label in strips[2]], given, suggested, names=names)
    if sentence:
        plain(sentence, "quiet-nearest")


def _strip(images: list[tuple[str, str]], title: str, key: str) -> None:
    """Small pictures with their labels, if any, below them; those that cannot be read are left out."""
    found = [(file, label) for file, label in images if file and Path(file).exists()]
    if not found:
        st.caption("Their files cannot be read." if images else "None in this audit.")
        return
    labelled = any(label for _, label in found)
    with st.container(key=key):
        st.image(
            [file for file, _ in found],
            caption=[components.escaped(short_name(label), 24) for _, label in found] if labelled else None,
            width=84,
            alt=[f"Filed as {full_name(label)}" if label else title for _, label in found],
        )


Strips = tuple[list[tuple[str, str]], ...]


@st.cache_data(max_entries=512, show_spinner=False)
def _strips(directory: str, audit: str, path: str, given: str, suggested: str) -> Strips:
    """(path, label or "") of typical images of both classes and of the nearest images; they never change."""
    store = components.store()
    typical = [
        [(str(found), "") for found in store.images.exemplars(audit, label)["path"].head(_TYPICAL)] if label else []
        for label in (given, suggested)
    ]
    near = store.images.neighbours(audit, path)
    nearest = [(str(found), str(label)) for found, label in zip(near["path"], near["given_label"], strict=True)]
    return (*typical, nearest)


def _paths(strips: Strips) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for strip in strips for path, _ in strip))


@st.cache_data(ttl=60, max_entries=256, show_spinner=False)
def _small(directory: str, root: str | None, audit: str, paths: tuple[str, ...]) -> dict[str, str]:
    """The thumbnail's file for each path, made where it has to be; empty where the picture cannot be read."""
    return {path: str(small.file or "") for path, small in thumbnails(audit, paths).items()}


def facts(row: Row) -> None:
    """The path, to copy, and the rest that is known about the image."""
    # Not st.code: the highlighter that it loads weighs as much as all the rest of the page.
    plain(str(row["path"]), "path")
    numbers = [f"Rank {row['rank']:,}", f"suspicion {row['suspicion']:.3f}", f"margin {row['margin']:.2f}"]
    plain(" · ".join([*numbers, f"{row['width']} × {row['height']} pixels"]), "quiet-facts")
