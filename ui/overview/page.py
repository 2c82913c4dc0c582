"""Overview: how many labels are wrong, how far the review is, and where it goes on. All of it follows the decisions."""

from __future__ import annotations

import math
from dataclasses import asdict

import pandas as pd
import streamlit as st

from gradattn_core.store.proof import Until
from gradattn_core.store.tally import Pace
from gradattn_core.store.unjudged import by_kind
from gradattn_core.wording import count_of, minute, names_of
from ui import components, markup
from ui.audits import at_work, finished
from ui.components import plain
from ui.overview import confusion, goal, how_many, look_first, relearning
from ui.overview.how_many import HowMany

_FAILURES = 200
_SHARE = 0.01
# What a reviewer does in a minute before anything is known of them.
_A_MINUTE = 12.0
# Of more pictures the forecast of a review that nobody has begun is not worth the wait.
_FORECAST = 100_000


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    summary = store.audits.one(audit)
    tally, review = store.tally.of(audit), store.review.progress(audit)
    closed = {each.given_label for each in store.finished.all(audit) if not each.suggested_label}
    runs = store.tally.rule_runs(audit)
    a_minute = _pace(store.tally.pace(), components.reviewer())
    said = (review.reviewed, review.wrong, review.unsure, store.draws.count(audit))
    until = _until(str(components.directory()), audit, _share(), said) if runs or tally.images <= _FORECAST else None
    check = None if runs else store.draws.checked(audit)
    facts = HowMany(tally, check, until if runs else None, a_minute)
    at_work.line(components.directory(), components.audits.clear)
    st.html(f"<style>{(components.HERE / 'overview' / 'overview.css').read_text('utf-8')}</style>")
    panels = [how_many.panel(facts)]
    if until is None:
        panels.append(goal.offer(tally.images, _share()))
    else:
        panels.append(goal.panel(until, runs=runs, a_minute=a_minute))
    if tally.pairs:
        panels += [confusion.panel(tally, components.classes(str(components.directory()), audit))]
        panels += [look_first.panel(tally, closed)]
    markup.show(markup.tag("div", *panels, class_="panels"))
    plain(f"{summary.model} · head {summary.head} · finished {minute(summary.finished_at)} UTC", "quiet-audit")
    for position, warning in enumerate(summary.warnings):
        plain(warning, f"mark-warning-{position}")
    relearning.show(store, summary, review)
    if tally.pairs and components.reviewer() and not components.read_only():
        _finish(audit, [each.label for each in tally.classes], closed)
    failures = store.audits.failures(audit)
    if len(failures):
        _failures(failures)
    finished.show_changes()


def _finish(audit: str, labels: list[str], closed: set[str]) -> None:
    """A field to call classes finished, and open again: their suspects stay, and nobody is sent there first."""
    names = names_of(labels)
    st.multiselect(
        "Finished classes",
        labels,
        default=[label for label in labels if label in closed],
        format_func=names.__getitem__,
        key=f"finished-{audit}",
        placeholder="None yet",
        on_change=_call_finished,
        args=(audit, closed),
    )


def _call_finished(audit: str, before: set[str]) -> None:
    chosen, store = set(st.session_state[f"finished-{audit}"]), components.store()
    for label in sorted(chosen - before):
        store.finished.mark(audit, label, reviewer=components.reviewer())
    for label in sorted(before - chosen):
        store.finished.take_back(audit, label)


def _share() -> float:
    """What may be left wrong, as the address says it in percent."""
    try:
        share = float(st.query_params.get("left", "")) / 100
    except ValueError:
        return _SHARE
    return share if math.isfinite(share) and 0 < share < 1 else _SHARE


@st.cache_data(ttl=60, max_entries=16, show_spinner=False)
def _until(folder: str, audit: str, share: float, said: tuple[int, ...]) -> Until:
    """What is proved of the unseen; ``said`` changes with what it follows from."""
    return components.store().draws.until(audit, share)


def _pace(paces: list[Pace], reviewer: str) -> float:
    """Decisions a minute of whoever looks, as far as that is known."""
    return next((each.a_minute for each in paces if each.reviewer == reviewer and each.a_minute), _A_MINUTE)


def _failures(failures: pd.DataFrame) -> None:
    kinds = by_kind(failures)
    with st.expander(f"{count_of(sum(kind.files for kind in kinds), 'file')} not judged"):
        if kinds:
            grouped = pd.DataFrame([asdict(kind) for kind in kinds[:_FAILURES]]).rename(columns={"reason": "why"})
            components.table(grouped[["files", "ending", "given_label", "stage", "why", "example"]], "Why not judged")
        components.table(failures.head(_FAILURES), "Files that were not judged")
        if len(failures) > _FAILURES:
            st.caption(f"The first {_FAILURES}; `gradattn export failures` has all {len(failures):,}.")


show()
