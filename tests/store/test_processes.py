"""Several processes and threads on one database, databases of other versions, and files that are none."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.store import schema
from gradattn_core.store.connection import transaction
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import PATHS, as_parquet, audit_row, sample_store, tables

SPAWN = multiprocessing.get_context("spawn")


def decide_fifty(folder: Path, reviewer: str) -> None:
    store = Store(folder, patience=120)
    for number in range(50):
        store.decisions.append("first", PATHS[number % 5], "keep", reviewer=reviewer, note=str(number))


def read_until_told(folder: Path, told: Connection) -> None:
    store = Store(folder, patience=120, read_only=True)
    while not told.poll():
        # One transaction sees one audit: either the first or the whole of the second merge.
        assert len(store.candidates.page("first", everything=True)) == 10
        assert store.decisions.page()["decision_id"].is_unique
        time.sleep(0.1)


def merge_twice(folder: Path, files: dict[str, list[Path]]) -> None:
    store = Store(folder, patience=120)
    for name in ("second", "third"):
        store.audits.merge(audit_row(name), files)
        store.audits.merge(audit_row("first"), tables(PATHS, suspects=6, interpreted=4))


def hold(folder: Path, ready: Connection, read_only: bool, seconds: float) -> None:
    connection = duckdb.connect(folder / "gradattn.duckdb", read_only=read_only)
    ready.send(os.getpid())
    time.sleep(seconds)
    connection.close()


def create_with_little_room(folder: Path, sizes: list[int], told: Connection) -> None:
    """Make a database in a folder of each name, where no file may grow beyond so many KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in sizes:
        (folder / str(size)).mkdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size << 10, resource.RLIM_INFINITY))
        try:
            with transaction(folder / str(size) / "gradattn.duckdb", write=True, patience=5):
                said = ""
        except StoreError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        told.send(said)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


def test_writers_readers_and_a_merge_in_six_processes_lose_nothing(store: Store, tmp_path: Path) -> None:
    files = as_parquet(tables([f"kite/{row}.jpg" for row in range(5000)], suspects=500), tmp_path / "shards")
    told, tell = SPAWN.Pipe(duplex=False)
    writers = [SPAWN.Process(target=decide_fifty, args=(tmp_path, name)) for name in ("ann", "bob")]
    readers = [SPAWN.Process(target=read_until_told, args=(tmp_path, told)) for _ in range(2)]
    merger = SPAWN.Process(target=merge_twice, args=(tmp_path, files))
    for process in (*readers, *writers, merger):
        process.start()
    for process in (*writers, merger):
        process.join()
    tell.send(None)
    for process in readers:
        process.join()
    assert [process.exitcode for process in (*writers, *readers, merger)] == [0] * 5
    log = store.decisions.page()
    for reviewer in ("ann", "bob"):
        assert list(log[log["reviewer"] == reviewer]["note"]) == [str(number) for number in reversed(range(50))]
    assert store.candidates.count("third") == 500
    assert store.review.progress("first").right == 5


def count_up(database: Path, times: int) -> None:
    for _ in range(times):
        with transaction(database, write=True, patience=120) as connection:
            connection.execute("UPDATE counter SET value = value + 1")


def test_four_processes_that_count_up_without_a_pause_lose_no_step(tmp_path: Path) -> None:
    # Opened by duckdb.connect(file), DuckDB 2.0.0 lost one step in some hundred: see connection._attached.
    database = tmp_path / "gradattn.duckdb"
    with transaction(database, write=True, patience=1) as connection:
        connection.execute("CREATE TABLE counter AS SELECT 0 AS value")
    processes = [SPAWN.Process(target=count_up, args=(database, 60)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with transaction(database, write=False, patience=1) as connection:
        assert connection.execute("SELECT value FROM counter").fetchall() == [(240,)]


def test_threads_of_one_process_read_and_write_together(store: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(6):
                store.decisions.append("first", PATHS[turn], "keep", reviewer=f"{number}")
                assert len(store.candidates.page("first")) == 6
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.decisions.page()) == 36


@pytest.mark.parametrize("read_only", [False, True])
def test_a_held_database_is_waited_for_and_its_holder_is_named(store: Store, read_only: bool) -> None:
    receive, send = SPAWN.Pipe(duplex=False)
    holder = SPAWN.Process(target=hold, args=(store.directory, send, read_only, 3.0))
    holder.start()
    pid = receive.recv()
    impatient = Store(store.directory, patience=0.2)
    start = time.monotonic()
    with pytest.raises(StoreError, match=rf"another process \(PID {pid}, .*\) has held .*; close it or wait"):
        impatient.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    assert time.monotonic() - start < 2
    store.decisions.append("first", PATHS[0], "remove", reviewer="ann")
    holder.join()
    assert list(store.decisions.page()["decision"]) == ["remove"]


def test_a_connection_of_the_same_process_is_waited_for_and_named(store: Store) -> None:
    with (
        duckdb.connect(store.database, read_only=True),
        pytest.raises(StoreError, match="another connection of this process"),
    ):
        Store(store.directory, patience=0.1).decisions.append("first", PATHS[0], "keep", reviewer="ann")
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")


def test_no_connection_is_kept_between_calls(store: Store) -> None:
    store.candidates.page("first")
    with pytest.raises(StoreError):
        store.candidates.page("none")
    with pytest.raises(StoreError):
        store.decisions.append("first", "kite/unknown.jpg", "keep", reviewer="ann")
    receive, send = SPAWN.Pipe(duplex=False)
    other = SPAWN.Process(target=hold, args=(store.directory, send, False, 0.0))
    other.start()
    assert receive.recv() == other.pid
    other.join()


def test_threads_work_on_the_databases_of_several_folders_at_once(tmp_path: Path) -> None:
    stores = []
    for name in "abc":
        (tmp_path / name).mkdir()
        stores.append(sample_store(tmp_path / name))
    errors: list[BaseException] = []

    def work(store: Store, number: int) -> None:
        try:
            for turn in range(3):
                paths = [f"{number}/{row}.jpg" for row in range(10 * (turn + 1))]
                store.audits.merge(audit_row(), tables(paths, suspects=5))
                store.decisions.append("first", paths[0], "keep", reviewer="ann")
                assert list(store.candidates.page("first", everything=True)["path"]) == paths
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(store, number)) for number, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def decide_once(folder: Path) -> None:
    Store(folder, patience=20).decisions.append("first", PATHS[1], "keep", reviewer="child")


def fork_and_decide(folder: Path) -> None:
    Store(folder).decisions.append("first", PATHS[0], "keep", reviewer="parent")
    child = multiprocessing.get_context("fork").Process(target=decide_once, args=(folder,))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_a_forked_child_opens_the_database_for_itself(store: Store) -> None:
    # In a process of its own: with the threads of torch and others in it, no process can be forked safely.
    parent = SPAWN.Process(target=fork_and_decide, args=(store.directory,))
    parent.start()
    parent.join()
    assert parent.exitcode == 0
    assert list(store.decisions.page()["reviewer"]) == ["child", "parent"]


@pytest.mark.parametrize("statement", ["SELECT error('broken')", "INSERT INTO exemplars VALUES ('a', 'b', 1, NULL, 1)"])
def test_after_an_error_of_duckdb_the_file_is_free_and_the_next_call_works(store: Store, statement: str) -> None:
    with (
        pytest.raises(StoreError, match=r"gradattn\.duckdb"),
        transaction(store.database, write=True, patience=1) as connection,
    ):
        connection.execute("DELETE FROM decisions")
        connection.execute(statement)
    other = SPAWN.Process(target=decide_once, args=(store.directory,))
    other.start()
    other.join()
    assert list(store.decisions.page()["reviewer"]) == ["child"]


def test_a_database_that_is_not_there_is_said_to_be_missing_until_it_is_prepared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=re.escape(f"no finished audit in {tmp_path}; `gradattn audit DATASET --out")):
        store.audits.all()
    assert list(tmp_path.iterdir()) == []
    store.prepare()
    assert [file.name for file in tmp_path.iterdir()] == ["gradattn.duckdb"]
    assert store.audits.all().empty and store.decisions.page().empty
    with pytest.raises(StoreError, match="no audit has finished"):
        store.audits.latest_id()


def test_a_missing_folder_and_one_that_duckdb_cannot_use_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"output folder .*absent does not exist"):
        Store(tmp_path / "absent").prepare()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file").prepare()
    with pytest.raises(StoreError, match=r"'\?' in its name"):
        Store(tmp_path / "what?")


@pytest.mark.parametrize("content", [b"", b"hello" * 5000])
def test_a_file_that_is_no_duckdb_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gradattn.duckdb").write_bytes(content)
    for call in (Store(tmp_path).prepare, Store(tmp_path).audits.all):
        with pytest.raises(StoreError, match="not a valid DuckDB database") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert (tmp_path / "gradattn.duckdb").read_bytes() == content


def test_a_pipe_in_its_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gradattn.duckdb")
    for call in (Store(tmp_path).prepare, Store(tmp_path).audits.all):
        with pytest.raises(StoreError, match="it is a pipe or a device and no file; remove it"):
            call()


def test_a_database_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "gradattn.duckdb") as connection:
        connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    for call in (Store(tmp_path).prepare, Store(tmp_path).audits.all):
        with pytest.raises(StoreError, match="not one of gradattn's"):
            call()


def test_a_newer_schema_is_refused_with_both_versions(store: Store) -> None:
    with duckdb.connect(store.database) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    for call in (store.prepare, store.audits.all):
        with pytest.raises(StoreError, match=rf"schema version 99 .* up to {len(schema.MIGRATIONS)};"):
            call()


def test_an_older_schema_is_brought_up_to_date_with_its_content(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    newer = (
        "ALTER TABLE failures ADD COLUMN hint TEXT DEFAULT 'none yet'",
        "CREATE TABLE visits (reviewer TEXT)",
        "INSERT INTO visits SELECT DISTINCT reviewer FROM decisions",
    )
    known = len(schema.MIGRATIONS)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, newer))
    reader = Store(store.directory, read_only=True)
    with pytest.raises(StoreError, match=rf"older schema version {known} and this gradattn needs {known + 1}"):
        reader.candidates.page("first")
    assert list(store.candidates.page("first")["decision"])[:2] == ["keep", ""]
    assert len(reader.candidates.page("first")) == 6
    with duckdb.connect(store.database, read_only=True) as connection:
        assert connection.execute("SELECT hint FROM failures").fetchall() == [("none yet",)]
        assert connection.execute("SELECT * FROM visits").fetchall() == [("ann",)]
        assert connection.execute("SELECT value FROM meta").fetchall() == [(str(known + 1),)]


def test_a_migration_that_fails_leaves_the_older_schema(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("ALTER TABLE failures ADD COLUMN hint TEXT", "SELECT error('cannot go on')")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreError, match="cannot go on"):
            store.prepare()
    assert list(store.audits.failures("first").columns) == ["path", "given_label", "stage", "reason"]
    assert len(store.candidates.page("first")) == 6


def as_nobody(folder: Path, answer: Connection) -> None:
    """Root may write anywhere, so the question is asked without its rights."""
    store = Store(folder)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for call in (
        store.audits.all,
        store.prepare,
        lambda: store.decisions.append("first", PATHS[0], "keep", reviewer="ann"),
    ):
        try:
            call()
            answer.send("worked")
        except StoreError as error:
            answer.send(str(error))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "refused"),
    [
        (0o555, 0o444, ["decide"]),
        (0o555, 0o000, ["audits", "prepare", "decide"]),
        (0o000, 0o644, ["audits", "prepare", "decide"]),
    ],
)
def test_missing_permission_is_one_clear_sentence(
    open_folder: Path, folder_mode: int, file_mode: int, refused: list[str]
) -> None:
    store = sample_store(open_folder)
    store.database.chmod(file_mode)
    open_folder.chmod(folder_mode)
    receive, send = SPAWN.Pipe(duplex=False)
    child = SPAWN.Process(target=as_nobody, args=(open_folder, send))
    child.start()
    child.join()
    answers: dict[str, Any] = {name: receive.recv() for name in ("audits", "prepare", "decide")}
    for name in refused:
        assert re.fullmatch(r"cannot open .*gradattn\.duckdb: .*Permission denied.*", answers[name]), answers
    assert all(answers[name] == "worked" for name in answers if name not in (*refused, "prepare")), answers


def test_a_disk_that_is_full_while_the_database_is_made_leaves_a_folder_that_works(tmp_path: Path) -> None:
    sizes = [4, 12, 40, 100, 200, 300, 500, 800]
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=create_with_little_room, args=(tmp_path, sizes, theirs))
    process.start()
    said = [ours.recv() for _ in sizes if ours.poll(60)]
    process.join(60)
    assert len(said) == len(sizes) and any(said)
    for size, sentence in zip(sizes, said, strict=True):
        folder = tmp_path / str(size)
        assert not sentence or f"{folder}/gradattn.duckdb" in sentence
        assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []
        # With room again the same command goes on.
        with transaction(folder / "gradattn.duckdb", write=True, patience=5) as connection:
            assert schema.read_version(connection, "it") == len(schema.MIGRATIONS)


def test_what_a_kill_left_of_a_database_is_cleared_by_the_next_one(tmp_path: Path) -> None:
    for name in (f".gradattn.duckdb.{'0a' * 16}", f".gradattn.duckdb.{'0b' * 16}.wal"):
        (tmp_path / name).touch()
    (tmp_path / ".gradattn.duckdb.mine").touch()
    with transaction(tmp_path / "gradattn.duckdb", write=True, patience=5):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} >= {".gradattn.duckdb.mine", "gradattn.duckdb"}
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".gradattn.duckdb.0")]
