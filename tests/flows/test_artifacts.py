"""What a run shows on Prefect's page is text, whatever labels and paths hold, and links only where a link may go."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from flows.artifacts import summary_markdown, suspects_markdown
from flows.notify import page_address, sentence
from gradattn_core.errors import GradattnError
from gradattn_core.records import AuditSummary, ClassPair
from tests.helpers.hostile import HOSTILE

# Markdown has no null character, and shows another one in its place.
LABELS = [text for text in HOSTILE if "\0" not in text and len(text) < 1000]


@pytest.mark.parametrize("label", LABELS)
def test_labels_and_paths_are_shown_as_text_in_the_summary(label: str) -> None:
    pair = ClassPair(
        label, label[::-1], 3, class_size=12, share=0.25, mean_suspicion=0.8, expected=2.5, lift=2, decided=0
    )
    place = Path("/data/a | <b>b</b>")
    files = (place / "gradattn.duckdb", place / "candidates.csv")
    summary = AuditSummary("id", 1234, 1, 2, 3, 4.4, (pair,), *files, warnings=("_n_",), measured=200, agreeing=199)
    shown = shown_text(summary_markdown(summary, label))
    row = shown.index(one_line(label), shown.index("looks like"))
    assert shown[row : row + 5] == [*map(one_line, (label, label[::-1])), "3", "2.5", "25.0%"]
    assert "In 199 of 200 measured suspects the strongest region does what its number says (99.5%)." in shown
    assert f"candidates: {files[1]}" in shown and shown[0] == one_line(label)


def test_labels_and_paths_of_suspects_are_shown_as_text() -> None:
    rows = [
        {"rank": rank, "path": f"{label}/{label}.png", "given_label": label, "suggested_label": label[::-1]}
        | {"suspicion": 0.876, "kind": None if rank else label}
        for rank, label in enumerate(LABELS)
    ]
    shown = shown_text(suspects_markdown(pd.DataFrame(rows)))
    for row in rows:
        place = shown.index(one_line(str(row["path"])))
        cells = [row["given_label"], row["suggested_label"], "88%", row["kind"] or ""]
        assert shown[place + 1 : place + 5] == [one_line(str(cell)) for cell in cells]
    assert suspects_markdown(pd.DataFrame()) == "No suspects.\n"


def test_a_review_page_is_linked_only_by_a_web_address() -> None:
    assert page_address(None) is None and page_address("") is None
    assert page_address("https://a.example/x?y=(z)") == "https://a.example/x?y=%28z%29"
    for wrong in ("javascript:alert(1)", "here", "http://", "https://a.example/ b", "http://[", "ftp://a.example"):
        with pytest.raises(GradattnError, match=r"is no web address; one like https://example\.org"):
            page_address(wrong)


def test_a_path_commands_no_chat() -> None:
    assert sentence(1234, 2000, "a\n<!channel> b", None) == (
        "gradattn: 1,234 new suspects in a ‹!channel› b (2,000 in all)"
    )
    assert sentence(1, 1, "photos", "http://localhost:8501").endswith("; review them at http://localhost:8501")


def shown_text(markdown: str) -> list[str]:
    """What a reader sees, block by block; nothing of it may be markup beyond emphasis and code."""
    page = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    assert not [token for token in page if token.type == "html_block"]
    inline = [token for token in page if token.type == "inline"]
    allowed = {"text", "softbreak", "em_open", "em_close", "code_inline"}
    assert {child.type for token in inline for child in token.children or []} <= allowed
    return ["".join(child.content for child in token.children or []) for token in inline]


def one_line(text: str) -> str:
    return " ".join(text.split())
