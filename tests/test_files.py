"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradattn_core.errors import StoreError
from gradattn_core.files import clear_drafts, write_bytes, write_output, write_whole


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_bytes(b"before")
    for mode in (0o640, 0o400):
        target.chmod(mode)
        write_bytes(target, b"after")
        assert target.read_bytes() == b"after" and target.stat().st_mode & 0o777 == mode


def test_what_breaks_off_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    write_bytes(target, b"before")

    def half(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise ValueError

    with pytest.raises(ValueError):
        write_whole(target, half)
    assert target.read_bytes() == b"before" and list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written_is_named_and_not_its_draft(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        write_output(tmp_path / "gone" / "a.csv", b"")
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'gone' / 'a.csv'}: No such file or directory; choose another file or make room"
    )


def test_drafts_of_one_file_are_cleared_and_no_other_files(tmp_path: Path) -> None:
    drafts = [f".a.csv.{'0' * 32}", f".a.csv.{'0f' * 16}"]
    others = [f".b.csv.{'0' * 32}", ".a.csv.swp", "a.csv", f"a.csv.{'0' * 32}", f".aXcsv.{'0' * 32}"]
    for name in (*drafts, *others):
        (tmp_path / name).touch()
    clear_drafts(tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
