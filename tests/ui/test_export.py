"""The export page: what it previews and what it offers to download."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from gradattn_core.store.store import Store
from tests.helpers.app_pages import choose, opened, table
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, IMAGES, path_of


def offer(app: AppTest) -> str:
    return str(app.download_button[0].label)


def test_candidates_are_previewed_with_the_columns_and_rows_of_the_file(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(2), "remove", reviewer="Ada")
    app = opened("export")
    assert offer(app) == "Download 12 rows as CSV"
    assert table(app)["rank"] == [str(rank) for rank in range(1, 13)]
    assert list(table(app))[-2:] == ["outside_label", "kind"]
    assert set(HOSTILE_LABELS) <= set(table(app)["given_label"]), "labels are text, to the letter"
    app.number_input(key="top").set_value(3).run()
    assert offer(app) == "Download 3 rows as CSV"
    choose(app, "Decision", "Removed")
    assert table(app)["path"] == [path_of(2)]
    choose(app, "Decision", "Unsure")
    assert "No suspect is in this list" in app.markdown[0].value


def test_table_format_order_and_filters_are_taken_from_the_address(store: Store) -> None:
    app = opened("export", format="Parquet", order="Path", given="kite")
    assert offer(app) == "Download 2 rows as Parquet"
    assert table(app)["path"] == [path_of(0), path_of(7)]
    # Formats for programs have every column.
    assert list(table(app))[-2:] == ["seen", "tags"]


def test_decisions_are_filtered_like_the_log(store: Store) -> None:
    assert "Nothing has been decided yet" in opened("export", what="Decisions").markdown[0].value
    store.decisions.append_many(AUDIT_ID, [path_of(0), path_of(1)], "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Bob")
    assert offer(opened("export", what="Decisions", format="JSON")) == "Download 3 rows as JSON"
    assert offer(opened("export", what="Decisions", standing="true")) == "Download 2 rows as CSV"
    app = opened("export", what="Decisions", who="Bob")
    assert table(app)["path"] == [path_of(1)]


def test_corrected_labels_apply_what_was_decided(store: Store) -> None:
    root = Path(store.audits.all()["root"][0])
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="owl", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada")
    app = opened("export", what="Corrected labels")
    assert offer(app) == f"Download {IMAGES - 1} rows as CSV"
    assert "1 relabelled, 1 left out." in " ".join(caption.value for caption in app.caption)
    preview = table(app)
    assert len(preview["path"]) == 20
    labels = dict(zip(preview["path"], preview["label"], strict=True))
    assert labels[str(root / path_of(0))] == "owl"
    assert str(root / path_of(1)) not in labels


def test_removals_are_what_is_marked_for_removal(store: Store) -> None:
    assert "Nothing is marked for removal" in opened("export", what="Removals").markdown[0].value
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada", note="=1+1")
    app = opened("export", what="Removals")
    assert offer(app) == "Download 1 row as CSV"
    assert (table(app)["path"], table(app)["note"]) == ([path_of(1)], ["=1+1"])


def test_no_file_is_made_before_it_is_asked_for(store: Store) -> None:
    button = opened("export").download_button[0].proto
    assert button.HasField("deferred_file_id") and not button.url
