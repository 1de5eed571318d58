CREATE TABLE user (
    id            INTEGER PRIMARY KEY,
    username      TEXT NOT NULL UNIQUE,
    display_name  TEXT NOT NULL,
    password_hash TEXT NOT NULL
);

CREATE TABLE document (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    revision     INTEGER NOT NULL CHECK (revision >= 0),
    title        TEXT NOT NULL,
    authors      TEXT NOT NULL,
    abstract     TEXT NOT NULL,
    published_at TEXT NOT NULL
);

CREATE INDEX document_published ON document (published_at);

CREATE TABLE comment (
    id          INTEGER PRIMARY KEY,
    document_id INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    user_id     INTEGER NOT NULL REFERENCES user (id),
    body        TEXT NOT NULL CHECK (length(body) BETWEEN 1 AND 2000),
    written_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

CREATE INDEX comment_document ON comment (document_id);

CREATE TABLE user_follow (
    user_id     INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    document_id INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, document_id)
);

-- The password of 'demo' is public (see README.md). '!' matches no password.
INSERT INTO user (id, username, display_name, password_hash) VALUES
    (1, 'demo', 'Demo Reader', 'scrypt:32768:8:1$DAenFp892UtQYXzR$04259712eaa7dacb4716529d82375f6d7e793f796042d701295d5cda210c6e65bf205442d2ed622f078b6bfda2beb3812a12afdded1a892068a9b42a971794ae'),
    (2, 'ines', 'Ines Moss', '!'),
    (3, 'tomas', 'Tomas Lindgren', '!');

INSERT INTO document (id, name, revision, title, authors, abstract, published_at) VALUES
    (1, 'draft-moss-idle-close', 4, 'Closing Idle Connections without Losing Requests', 'Ines Moss',
     'A server that closes an idle connection may meet a request already on its way. This document describes how both ends can agree on the moment of closing, so that no request has to be sent twice.',
     '2026-01-17T09:30:00Z'),
    (2, 'draft-lindgren-calm-retries', 2, 'Calm Retries: Backing Off without a Herd', 'Tomas Lindgren, Ines Moss',
     'Clients that retry at the same moment turn a short outage into a long one. This document defines a retry budget and a spread of delays that keep a recovering service within its capacity.',
     '2026-01-12T14:00:00Z'),
    (3, 'draft-abara-schema-growth', 1, 'Growing a Schema while Readers Stay', 'Chidi Abara',
     'Two releases of a service often share one database for a few seconds. This document names the schema changes that both can live with, and splits the others into a first half that adds and a second half that removes.',
     '2025-12-03T08:15:00Z'),
    (4, 'draft-tanaka-plain-status', 0, 'A Plain Status Document for Small Services', 'Yui Tanaka',
     'Operators of small services need one page that says what runs, since when, and whether it is well. This document defines its members and the words for them.',
     '2025-11-20T16:45:00Z'),
    (5, 'draft-weiss-loopback-names', 3, 'Names for Services on the Loopback Address', 'Lena Weiss',
     'Port numbers are a poor way to tell local services apart. This document reserves a small name space that resolves to the loopback address only.',
     '2025-10-08T11:05:00Z'),
    (6, 'draft-okoye-release-receipts', 1, 'Receipts for Released Software', 'Ada Okoye, Yui Tanaka',
     'A receipt binds the source, the build and the moment at which software began to serve. This document defines its form and says how a third party can check it later.',
     '2025-09-26T07:50:00Z');

INSERT INTO comment (document_id, user_id, body, written_at) VALUES
    (1, 3, 'Section 3 should say what happens when the last answer is still being written.', '2026-01-17T11:02:00Z'),
    (1, 2, 'Agreed. The next revision finishes the answer first and closes after it.', '2026-01-18T08:40:00Z'),
    (2, 2, 'A budget of ten percent has worked well for us.', '2026-01-13T10:21:00Z'),
    (3, 3, 'The example with the renamed column is the one everybody needs.', '2025-12-04T13:37:00Z');

INSERT INTO user_follow (user_id, document_id) VALUES (1, 1), (1, 3);
