"""Documents and their comments: the queries and the pages that show them."""

from dataclasses import dataclass

from flask import Blueprint, abort, g, redirect, render_template, request, url_for

from viewer.auth import redirect_to_login
from viewer.db import get_db

pages = Blueprint("documents", __name__)

LONGEST_COMMENT = 2000
LATEST = 3


@dataclass(frozen=True)
class Document:
    id: int
    name: str
    revision: int
    title: str
    authors: str
    abstract: str
    published_at: str
    comments: int

    @property
    def full_name(self):
        """Name and revision as they are cited: `draft-a-b-04`."""
        return f"{self.name}-{self.revision:02}"


@dataclass(frozen=True)
class Comment:
    id: int
    author: str
    body: str
    written_at: str


# Columns by name: the release before a migration must survive the columns that it adds.
SELECT = """
    SELECT document.id, name, revision, title, authors, abstract, published_at,
        (SELECT count(*) FROM comment WHERE document_id = document.id) AS comments
    FROM document
"""


def list_documents(limit=-1):
    """Newest first; all of them unless limited."""
    rows = get_db().execute(f"{SELECT} ORDER BY published_at DESC, name LIMIT ?", (limit,))
    return [Document(**row) for row in rows]


def list_followed(user_id):
    """The documents a user follows, by name."""
    rows = get_db().execute(
        f"{SELECT} JOIN user_follow ON document_id = document.id WHERE user_id = ? ORDER BY name", (user_id,)
    )
    return [Document(**row) for row in rows]


def find_document(name):
    """The document of this name, or None."""
    row = get_db().execute(f"{SELECT} WHERE name = ?", (name,)).fetchone()
    return Document(**row) if row else None


def list_comments(document_id):
    """Oldest first."""
    rows = get_db().execute(
        """
        SELECT comment.id, display_name AS author, body, written_at
        FROM comment JOIN user ON user.id = user_id
        WHERE document_id = ? ORDER BY comment.id
        """,
        (document_id,),
    )
    return [Comment(**row) for row in rows]


def add_comment(document_id, user_id, body):
    """Store a comment and return its id."""
    with get_db() as db:
        return db.execute(
            "INSERT INTO comment (document_id, user_id, body) VALUES (?, ?, ?)", (document_id, user_id, body)
        ).lastrowid


def comment_problem(body):
    """What is wrong with the text of a comment, or None."""
    if not body:
        return "Write something first."
    if len(body) > LONGEST_COMMENT:
        return f"Keep it under {LONGEST_COMMENT} characters; this has {len(body)}."
    return None


@pages.get("/")
def index():
    return render_template("index.html", latest=list_documents(LATEST))


@pages.get("/doc/all/")
def all_documents():
    return render_template("documents.html", documents=list_documents())


@pages.get("/doc/draft/<name>/")
def detail(name):
    return show_document(document_or_404(name))


@pages.post("/doc/draft/<name>/comment/")
def comment(name):
    document = document_or_404(name)
    if g.user is None:
        return redirect_to_login(url_for("documents.detail", name=name))
    body = request.form.get("body", "").strip().replace("\r\n", "\n")
    problem = comment_problem(body)
    if problem:
        return show_document(document, body=body, problem=problem), 400
    added = add_comment(document.id, g.user.id, body)
    return redirect(url_for("documents.detail", name=name, _anchor=f"comment-{added}"))


def document_or_404(name):
    return find_document(name) or abort(404, f"There is no document named {name}.")


def show_document(document, body="", problem=None):
    comments = list_comments(document.id)
    return render_template("document.html", document=document, comments=comments, body=body, problem=problem)
