"""Tables of `datasets.sqlite`: what the server remembers of datasets, beside what their folders hold."""

from __future__ import annotations

from twinlens.service.database import Layout

LAYOUT = Layout(
    application=0x544C4453,  # "TLDS"
    content="datasets",
    migrations=(
        """
        CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE datasets (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            name TEXT NOT NULL,
            description TEXT NOT NULL DEFAULT '',
            kind TEXT NOT NULL,
            folder TEXT NOT NULL,
            created TEXT NOT NULL,
            updated TEXT NOT NULL,
            status TEXT NOT NULL,
            progress INTEGER NOT NULL DEFAULT 0,
            images INTEGER NOT NULL DEFAULT 0,
            error TEXT,
            ready INTEGER NOT NULL DEFAULT 0,
            edition INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID;
        CREATE INDEX datasets_of_owner ON datasets (owner);
        CREATE TABLE sources (
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            path TEXT NOT NULL,
            PRIMARY KEY (dataset, path)
        ) WITHOUT ROWID;
        CREATE TABLE shares (
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            grantee TEXT NOT NULL,
            PRIMARY KEY (dataset, grantee)
        ) WITHOUT ROWID;
        CREATE INDEX shares_of_grantee ON shares (grantee);
        CREATE TABLE transactions (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            processed INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX transactions_of_dataset ON transactions (dataset);
        CREATE TABLE uploads (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            trans INTEGER NOT NULL REFERENCES transactions(number) ON DELETE CASCADE,
            digest BLOB NOT NULL,
            files INTEGER NOT NULL,
            answered INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX uploads_of_transaction ON uploads (trans);
        CREATE TABLE left_out (
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (dataset, name)
        ) WITHOUT ROWID;
        CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            task TEXT NOT NULL,
            compare INTEGER NOT NULL,
            state TEXT NOT NULL,
            error TEXT
        );
        CREATE INDEX jobs_of_dataset ON jobs (dataset);
        CREATE TABLE annotations (
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            filename TEXT NOT NULL,
            kind TEXT NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (dataset, filename, kind, text)
        ) WITHOUT ROWID;
        CREATE TABLE tags (
            id TEXT PRIMARY KEY,
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            created TEXT NOT NULL,
            UNIQUE (dataset, name)
        ) WITHOUT ROWID;
        CREATE TABLE tagged (
            tag TEXT NOT NULL REFERENCES tags(id) ON DELETE CASCADE,
            media TEXT NOT NULL,
            assigned TEXT NOT NULL,
            PRIMARY KEY (tag, media)
        ) WITHOUT ROWID;
        CREATE TABLE anchors (
            id TEXT PRIMARY KEY,
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            created INTEGER NOT NULL,
            fingerprint TEXT NOT NULL,
            vector BLOB,
            digest BLOB,
            pixel_digest BLOB
        ) WITHOUT ROWID;
        CREATE INDEX anchors_of_dataset ON anchors (dataset, created);
        CREATE TABLE recipes (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            text TEXT NOT NULL,
            UNIQUE (dataset, text)
        );
        CREATE TABLE clusters (
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            id TEXT NOT NULL,
            recipe INTEGER NOT NULL REFERENCES recipes(number) ON DELETE CASCADE,
            place INTEGER NOT NULL,
            PRIMARY KEY (dataset, id, recipe)
        ) WITHOUT ROWID;
        CREATE INDEX clusters_of_recipe ON clusters (recipe);
        CREATE TABLE exports (
            id TEXT PRIMARY KEY,
            dataset TEXT NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,
            owner TEXT NOT NULL,
            created TEXT NOT NULL,
            request TEXT NOT NULL,
            status TEXT NOT NULL,
            progress REAL NOT NULL DEFAULT 0,
            entities INTEGER NOT NULL DEFAULT 0,
            message TEXT
        ) WITHOUT ROWID;
        CREATE INDEX exports_of_dataset ON exports (dataset)
        """,
    ),
)
