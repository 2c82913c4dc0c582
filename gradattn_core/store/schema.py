"""The database's tables, their version, and the way from each version to the next: the one place for all three.

``MIGRATIONS[n]`` holds the statements that lead from schema version n to n + 1, so the whole list makes a new database.
A published entry is never edited; a change of the schema is a new entry at the end.

The big tables carry no primary key on purpose: DuckDB's joins use no index, and building one over a million paths slows
every merge. The merge checks the natural keys instead (``UNIQUE_KEYS``). What makes a page quick is ``image_rank``, a
copy of ``scores.rank`` by which the other tables are joined and ordered: the suspects of any page lie in the first
blocks of each table, and the rest is not read.
"""

from __future__ import annotations

import duckdb

from gradattn_core.errors import NewerSchemaError, StoreError

_VERSION_1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE audits (
        audit_id TEXT PRIMARY KEY, dataset TEXT NOT NULL, root TEXT NOT NULL, model TEXT NOT NULL,
        checkpoint TEXT, head TEXT, classes TEXT[] NOT NULL, parameters JSON, versions JSON, fingerprint TEXT,
        started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ, state TEXT NOT NULL,
        images BIGINT, failures BIGINT, skipped BIGINT, suspects BIGINT, estimated_errors DOUBLE,
        warnings TEXT[], features TEXT)""",
    """CREATE TABLE images (
        audit_id TEXT NOT NULL, image_rank BIGINT, path TEXT NOT NULL, content_hash TEXT NOT NULL,
        given_label TEXT NOT NULL, size BIGINT, width INTEGER, height INTEGER)""",
    """CREATE TABLE predictions (
        audit_id TEXT NOT NULL, image_rank BIGINT, path TEXT NOT NULL, fold INTEGER, predicted_label TEXT NOT NULL,
        given_logit FLOAT, predicted_logit FLOAT, given_probability FLOAT, predicted_probability FLOAT,
        margin FLOAT, entropy FLOAT, top_labels TEXT[], top_probabilities FLOAT[],
        outside_label TEXT, outside_probability FLOAT)""",
    """CREATE TABLE scores (
        audit_id TEXT NOT NULL, path TEXT NOT NULL, rank BIGINT NOT NULL, suspicion DOUBLE NOT NULL,
        is_suspect BOOLEAN NOT NULL, suggested_label TEXT NOT NULL, suggested_probability DOUBLE,
        given_probability DOUBLE, runner_up_label TEXT, components MAP(TEXT, DOUBLE))""",
    """CREATE TABLE interpretations (
        audit_id TEXT NOT NULL, image_rank BIGINT, path TEXT NOT NULL, for_label TEXT NOT NULL,
        against_label TEXT NOT NULL, for_logit FLOAT NOT NULL, against_logit FLOAT NOT NULL,
        objective TEXT NOT NULL, correction TEXT NOT NULL, aggregation TEXT,
        grid_height INTEGER NOT NULL, grid_width INTEGER NOT NULL,
        crop_left FLOAT NOT NULL, crop_top FLOAT NOT NULL, crop_right FLOAT NOT NULL, crop_bottom FLOAT NOT NULL,
        map FLOAT[] NOT NULL CHECK (len(map) = grid_height * grid_width),
        positive_mass DOUBLE NOT NULL, negative_mass DOUBLE NOT NULL, balance DOUBLE NOT NULL,
        concentration DOUBLE NOT NULL, overlap DOUBLE NOT NULL)""",
    """CREATE TABLE regions (
        audit_id TEXT NOT NULL, image_rank BIGINT, path TEXT NOT NULL, sign TINYINT NOT NULL, rank INTEGER NOT NULL,
        mass_share DOUBLE NOT NULL, area_share DOUBLE NOT NULL, peak DOUBLE NOT NULL,
        box_left DOUBLE NOT NULL, box_top DOUBLE NOT NULL, box_right DOUBLE NOT NULL, box_bottom DOUBLE NOT NULL)""",
    """CREATE TABLE class_pairs (
        audit_id TEXT NOT NULL, given_label TEXT NOT NULL, suggested_label TEXT NOT NULL, suspects BIGINT,
        class_size BIGINT, share DOUBLE, mean_suspicion DOUBLE, expected DOUBLE)""",
    "CREATE TABLE failures (audit_id TEXT NOT NULL, path TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL)",
    # Only `sequence` orders decisions: clocks repeat a microsecond and are set back.
    """CREATE TABLE decisions (
        decision_id TEXT PRIMARY KEY, sequence BIGINT NOT NULL, content_hash TEXT NOT NULL, given_label TEXT NOT NULL,
        decision TEXT NOT NULL CHECK (decision IN ('keep', 'relabel', 'remove', 'unsure', 'undo')), new_label TEXT,
        reviewer TEXT NOT NULL, note TEXT NOT NULL, decided_at TIMESTAMPTZ NOT NULL,
        audit_id TEXT NOT NULL, path TEXT NOT NULL)""",
    # Decisions push and undos pop, so the one that stands is the last that reached the depth the stack has at the end.
    """CREATE VIEW current_decisions AS
        WITH steps AS (
            SELECT *,
                sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END) OVER (same ORDER BY sequence) AS depth,
                sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END) OVER same AS final_depth
            FROM decisions WINDOW same AS (PARTITION BY content_hash, given_label))
        SELECT decision_id, sequence, content_hash, given_label, decision, new_label, reviewer, note, decided_at
        FROM steps WHERE decision <> 'undo' AND depth = final_depth
        QUALIFY sequence = max(sequence) OVER (PARTITION BY content_hash, given_label)""",
)

# What an interpretation and a ranking of version 1 never had stays NULL in the audits of that time.
_VERSION_2 = (
    "ALTER TABLE audits ADD COLUMN estimated_low DOUBLE",
    "ALTER TABLE audits ADD COLUMN estimated_high DOUBLE",
    "ALTER TABLE scores ADD COLUMN runner_up_probability DOUBLE",
    "ALTER TABLE scores ADD COLUMN kind TEXT",
    "ALTER TABLE scores ADD COLUMN kind_numbers MAP(TEXT, DOUBLE)",
    "ALTER TABLE scores ADD COLUMN cluster INTEGER",
    "ALTER TABLE interpretations ADD COLUMN hidden_for_logit FLOAT",
    "ALTER TABLE interpretations ADD COLUMN hidden_against_logit FLOAT",
    "ALTER TABLE interpretations ADD COLUMN hidden_label TEXT",
    "ALTER TABLE interpretations ADD COLUMN hidden_probability FLOAT",
    "ALTER TABLE class_pairs ADD COLUMN lift DOUBLE",
    """CREATE TABLE neighbours (
        audit_id TEXT NOT NULL, image_rank BIGINT, path TEXT NOT NULL, position INTEGER NOT NULL,
        neighbour_path TEXT NOT NULL, neighbour_label TEXT NOT NULL, similarity DOUBLE NOT NULL)""",
    """CREATE TABLE exemplars (
        audit_id TEXT NOT NULL, label TEXT NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL,
        suspicion DOUBLE NOT NULL)""",
)

# NULL where no re-ranking has moved the suspect or, in `audits`, where none is in force.
_VERSION_3 = (
    "ALTER TABLE scores ADD COLUMN audit_rank BIGINT",
    "ALTER TABLE scores ADD COLUMN audit_suspicion DOUBLE",
    "ALTER TABLE audits ADD COLUMN reranked_decisions BIGINT",
)

# Decisions push and undos pop, one stack per image content and given label. Each row of `words` is a decision that no
# undo has taken back: the stack was never lower after it than right after it. It stands if it is the top of its stack.
_VERSION_4 = (
    """CREATE VIEW words AS
        WITH steps AS (
            SELECT *, sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END) OVER (
                PARTITION BY content_hash, given_label ORDER BY sequence) AS depth
            FROM decisions),
        stacks AS (
            SELECT *, min(depth) OVER onwards AS lowest, last_value(depth) OVER onwards AS final FROM steps
            WINDOW onwards AS (PARTITION BY content_hash, given_label ORDER BY sequence
                ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)),
        kept AS (
            SELECT decision_id, sequence, content_hash, given_label, decision, new_label, reviewer, note, decided_at,
                depth = final AS stands, concat(decision, ' ', new_label) AS said,
                sequence = max(sequence) OVER (PARTITION BY content_hash, given_label, reviewer) AS newest
            FROM stacks WHERE decision <> 'undo' AND depth = lowest)
        SELECT * EXCLUDE (said),
            newest AND min(said) FILTER (newest) OVER same <> max(said) FILTER (newest) OVER same AS conflict
        FROM kept WINDOW same AS (PARTITION BY content_hash, given_label)""",
    "CREATE OR REPLACE VIEW current_decisions AS SELECT * EXCLUDE (stands, newest) FROM words WHERE stands",
)

# What a map adds up to takes the place of its masses, which were no part of any sum. All are NULL for a map that does
# not add up, as those of earlier versions; `measured` where nothing was measured.
_VERSION_5 = (
    *(
        f"ALTER TABLE interpretations ADD COLUMN {column} DOUBLE"
        for column in (
            "model_log_odds",
            "log_odds_without_picture",
            "average_log_odds",
            "red_log_odds",
            "blue_log_odds",
        )
    ),
    "ALTER TABLE interpretations ADD COLUMN head TEXT",
    "ALTER TABLE interpretations ADD COLUMN numbers TEXT",
    *(f"ALTER TABLE interpretations DROP COLUMN {column}" for column in ("positive_mass", "negative_mass", "balance")),
    "ALTER TABLE regions ADD COLUMN log_odds DOUBLE",
    "ALTER TABLE regions ADD COLUMN measured DOUBLE",
)

# The ranges of earlier audits (20 % about the estimate and chance) missed the truth too often to be said any more.
_VERSION_6 = (
    "ALTER TABLE scores ADD COLUMN class_noise_suspicion DOUBLE",
    "ALTER TABLE scores ADD COLUMN instance_noise_suspicion DOUBLE",
    "UPDATE audits SET estimated_low = NULL, estimated_high = NULL",
    # Draws belong to the pictures they were taken from, whichever audit lists these: `population` names that set.
    # `after` is the newest decision before the draw: what stood then was known, and outside the `pool`.
    """CREATE VIEW populations AS
        SELECT audit_id,
            concat(count(*), ':', bit_xor(md5_number(concat_ws(chr(31), content_hash, given_label)))) AS population
        FROM (SELECT DISTINCT audit_id, content_hash, given_label FROM images) GROUP BY audit_id""",
    "ALTER TABLE audits ADD COLUMN population TEXT",
    "UPDATE audits SET population = p.population FROM populations p WHERE p.audit_id = audits.audit_id",
    """CREATE TABLE draws (
        population TEXT NOT NULL, number BIGINT NOT NULL, batch BIGINT NOT NULL,
        purpose TEXT NOT NULL CHECK (purpose IN ('spot check', 'until')),
        content_hash TEXT NOT NULL, given_label TEXT NOT NULL, pool BIGINT NOT NULL, expected DOUBLE NOT NULL,
        after BIGINT NOT NULL, audit_id TEXT NOT NULL, drawn_at TIMESTAMPTZ NOT NULL)""",
    "ALTER TABLE failures ADD COLUMN given_label TEXT",
    "ALTER TABLE audits ADD COLUMN white INTEGER",
    # NULL also where the head has no outputs but the dataset's classes.
    "ALTER TABLE scores ADD COLUMN outside_suspicion DOUBLE",
    # NULL where no re-ranking has moved the image; in `audits`, learning is on where it is NULL.
    "ALTER TABLE scores ADD COLUMN audit_is_suspect BOOLEAN",
    "ALTER TABLE audits ADD COLUMN learning BOOLEAN",
    "ALTER TABLE audits ADD COLUMN learnt_by TEXT",
)

_VERSION_7 = (
    # What the voters make of the likeliest classes, before the given label is looked at; NULL in audits of before.
    "ALTER TABLE scores ADD COLUMN likely_labels TEXT[]",
    "ALTER TABLE scores ADD COLUMN likely_probabilities FLOAT[]",
    # The newest entry about the picture that its author had seen, "" for none; the browser tab that sent it; what was
    # decided with it at one stroke and is taken back so. NULL where it came by another way than the page.
    "ALTER TABLE decisions ADD COLUMN seen TEXT",
    "ALTER TABLE decisions ADD COLUMN outbox TEXT",
    "ALTER TABLE decisions ADD COLUMN batch TEXT",
    # What was thought of the picture when it was decided: the likeliest other class and its probability.
    "ALTER TABLE decisions ADD COLUMN proposed_label TEXT",
    "ALTER TABLE decisions ADD COLUMN proposed_probability DOUBLE",
    """CREATE TABLE tags (
        content_hash TEXT NOT NULL, given_label TEXT NOT NULL, tag TEXT NOT NULL, reviewer TEXT NOT NULL,
        tagged_at TIMESTAMPTZ NOT NULL)""",
    """CREATE TABLE saved_views (
        page TEXT NOT NULL, name TEXT NOT NULL, query TEXT NOT NULL, reviewer TEXT NOT NULL,
        saved_at TIMESTAMPTZ NOT NULL)""",
    # As before, but without `conflict`, which only `words` has: where nobody has undone anything, and that is nearly
    # everywhere, the newest decision stands, and no stack has to be followed.
    """CREATE OR REPLACE VIEW current_decisions AS
        WITH undone AS (
            SELECT DISTINCT content_hash AS content, given_label AS label FROM decisions WHERE decision = 'undo'),
        steps AS (
            SELECT d.*, sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END) OVER (same ORDER BY sequence) AS depth,
                sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END) OVER same AS final_depth
            FROM decisions d SEMI JOIN undone ON content = content_hash AND label = given_label
            WINDOW same AS (PARTITION BY content_hash, given_label)),
        said AS (
            FROM decisions ANTI JOIN undone ON content = content_hash AND label = given_label
            UNION ALL BY NAME
            SELECT * EXCLUDE (depth, final_depth) FROM steps WHERE decision <> 'undo' AND depth = final_depth)
        SELECT arg_max(decision_id, sequence) AS decision_id, max(sequence) AS sequence, content_hash, given_label,
            arg_max(decision, sequence) AS decision, arg_max_null(new_label, sequence) AS new_label,
            arg_max(reviewer, sequence) AS reviewer, arg_max(note, sequence) AS note,
            arg_max(decided_at, sequence) AS decided_at
        FROM said GROUP BY content_hash, given_label""",
    # Of a dataset, by its root; NULL as suggested label: the class as a whole.
    """CREATE TABLE finished (
        root TEXT NOT NULL, given_label TEXT NOT NULL, suggested_label TEXT, reviewer TEXT NOT NULL,
        finished_at TIMESTAMPTZ NOT NULL)""",
    """CREATE TABLE embeddings (
        audit_id TEXT NOT NULL, image_rank BIGINT, path TEXT NOT NULL, x FLOAT NOT NULL, y FLOAT NOT NULL)""",
    """CREATE TABLE selections (
        audit_id TEXT NOT NULL, selection_id TEXT NOT NULL, paths TEXT[] NOT NULL, reviewer TEXT NOT NULL,
        selected_at TIMESTAMPTZ NOT NULL)""",
)

_VERSION_8 = (
    # An undo says what it takes back: of those of before, the newest decision at the height that they go down from.
    """CREATE TEMP TABLE steps AS
        SELECT *, sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END) OVER (
            PARTITION BY content_hash, given_label ORDER BY sequence) AS depth
        FROM decisions""",
    """UPDATE decisions SET seen = taken.decision_id FROM (
            SELECT u.sequence, arg_max(d.decision_id, d.sequence) AS decision_id
            FROM steps u JOIN steps d ON d.content_hash = u.content_hash AND d.given_label = u.given_label
                AND d.sequence < u.sequence AND d.depth = u.depth + 1 AND d.decision <> 'undo'
            WHERE u.decision = 'undo' GROUP BY u.sequence) taken
        WHERE decisions.sequence = taken.sequence""",
    "DROP TABLE steps",
    # As before; but no stack has to be followed any more.
    """CREATE OR REPLACE VIEW current_decisions AS
        SELECT arg_max(decision_id, sequence) AS decision_id, max(sequence) AS sequence, content_hash, given_label,
            arg_max(decision, sequence) AS decision, arg_max_null(new_label, sequence) AS new_label,
            arg_max(reviewer, sequence) AS reviewer, arg_max(note, sequence) AS note,
            arg_max(decided_at, sequence) AS decided_at
        FROM decisions ANTI JOIN (SELECT seen AS decision_id FROM decisions WHERE decision = 'undo') USING (decision_id)
        WHERE decision <> 'undo' GROUP BY content_hash, given_label""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    *(_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6, _VERSION_7, _VERSION_8),
)

UNIQUE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "scores": (("path",), ("rank",)),
    "images": (("path",),),
    "predictions": (("path",),),
    "interpretations": (("path",),),
    "regions": (("path", "sign", "rank"),),
    "class_pairs": (("given_label", "suggested_label"),),
    "neighbours": (("path", "position"),),
    "exemplars": (("label", "position"),),
    "failures": (),
    "embeddings": (("path",),),
}
"""The tables a merge fills, in its order, each with the sets of columns that name a row at most once per audit."""

OF_AUDIT = ("audits", *UNIQUE_KEYS, "selections")
"""The tables whose rows go with their audit."""

RANKED = ("images", "predictions", "interpretations", "regions", "neighbours", "embeddings")
"""The tables with an ``image_rank``."""

OPTIONAL = ("likely_labels", "likely_probabilities")
"""Columns that what is merged may lack: an audit that the version before began has none."""


def read_version(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    """The schema version written in the database called ``name`` in messages.

    Raises:
        StoreError: where the database was not made by gradattn, or by a version newer than this one.
    """
    try:
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    except duckdb.CatalogException:
        row = None
    if row is None or not str(row[0]).isdecimal():
        raise StoreError(f"{name} is a DuckDB database but not one of gradattn's; choose another output folder")
    version = int(row[0])
    if version > len(MIGRATIONS):
        raise NewerSchemaError(
            f"{name} has schema version {version} and this gradattn knows up to {len(MIGRATIONS)}; "
            "upgrade gradattn or choose another output folder"
        )
    return version


def migrate(connection: duckdb.DuckDBPyConnection, version: int) -> None:
    """Bring an open transaction from ``version`` (0: empty database) to the newest one; the caller commits."""
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES ('schema_version', ?)",
        [str(len(MIGRATIONS))],
    )
