"""Runs up(db) and down(db) of migrations. The database is on the other side of a pipe: statements
go there one at a time, so that nothing here can end or split the transaction they are part of."""

import ast
import datetime
import itertools
import json
import os
import select
import sqlite3
import sys
import threading
import traceback
import types

source = os.fdopen(os.dup(0), "r", encoding="utf-8", newline="\n")
sink = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
MANY = 500


def leave_when_alone():
    """A script that loops for ever must not outlive the process that it works for."""
    watched = select.poll()
    watched.register(sink.fileno(), 0)
    watched.poll()
    os._exit(1)


def send(message):
    sink.write(json.dumps(message) + "\n")
    sink.flush()


def receive():
    line = source.readline()
    if not line:
        os._exit(1)
    return json.loads(line)


def packed(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        if not -(2**63) <= value < 2**63:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return int(value)
    if isinstance(value, float):
        return {"real": repr(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"blob": bytes(value).hex()}
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    conform = getattr(value, "__conform__", None)
    adapted = conform(sqlite3.PrepareProtocol) if conform else sqlite3.adapt(value)
    if adapted is value:
        raise sqlite3.ProgrammingError(f"type '{type(value).__name__}' is not supported")
    return packed(adapted)


def unpacked(value):
    if isinstance(value, dict):
        return bytes.fromhex(value["blob"]) if "blob" in value else float(value["real"])
    return value


def bound(parameters):
    if hasattr(parameters, "keys"):
        return {name: packed(parameters[name]) for name in parameters.keys()}
    return [packed(value) for value in parameters]


def ask(**message):
    send(message)
    rows = []
    while True:
        answer = receive()
        if "rows" in answer:
            rows.extend(tuple(unpacked(value) for value in row) for row in answer["rows"])
        elif "error" in answer:
            error = getattr(sqlite3, answer["kind"])(answer["error"])
            error.sqlite_errorcode = answer.get("code")
            raise error
        else:
            return answer, rows


class Row:
    """What sqlite3.Row is, which can only be made by a cursor of its own."""

    def __init__(self, cursor, values):
        self._names = [column[0] for column in cursor.description]
        self._values = values

    def keys(self):
        return list(self._names)

    def __getitem__(self, key):
        if not isinstance(key, str):
            return self._values[key]
        for at, name in enumerate(self._names):
            if name.lower() == key.lower():
                return self._values[at]
        raise IndexError("No item with that key")

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def __eq__(self, other):
        return isinstance(other, Row) and (self._names, self._values) == (other._names, other._values)

    def __hash__(self):
        return hash((tuple(self._names), self._values))


class Cursor:
    def __init__(self, connection):
        self.connection = connection
        self.row_factory = connection.row_factory
        self.arraysize = 1
        self.description = None
        self.rowcount = -1
        self.lastrowid = None
        self._rows = iter(())

    def _take(self, answer, rows):
        columns = answer.get("columns")
        self.description = tuple((name, *[None] * 6) for name in columns) if columns else None
        self.rowcount = answer.get("changes", -1)
        if answer.get("last") is not None:
            self.lastrowid = answer["last"]
        make = self.row_factory
        if make is sqlite3.Row:
            make = Row
        self._rows = iter([make(self, row) for row in rows] if make else rows)
        return self

    def execute(self, sql, parameters=()):
        return self._take(*ask(op="execute", sql=sql, parameters=bound(parameters)))

    def executemany(self, sql, sequence):
        changes = 0
        sequence = iter(sequence)
        while True:
            batch = [bound(row) for row in itertools.islice(sequence, MANY)]
            if not batch:
                break
            answer, _ = ask(op="many", sql=sql, sets=batch)
            changes += max(answer.get("changes", 0), 0)
        self._take({"changes": changes}, [])
        return self

    def executescript(self, script):
        ask(op="script", sql=script)
        return self._take({}, [])

    def fetchone(self):
        return next(self._rows, None)

    def fetchmany(self, size=None):
        return list(itertools.islice(self._rows, size or self.arraysize))

    def fetchall(self):
        return list(self._rows)

    def close(self):
        self._rows = iter(())

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._rows)


class Connection:
    """Behaves like a sqlite3.Connection inside the transaction of the whole run."""

    in_transaction = True

    def __init__(self):
        self.row_factory = None
        self.text_factory = str
        self.isolation_level = ""

    @property
    def total_changes(self):
        return ask(op="total")[0]["total"]

    def cursor(self, factory=Cursor):
        return factory(self)

    def execute(self, sql, parameters=()):
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql, sequence):
        return self.cursor().executemany(sql, sequence)

    def executescript(self, script):
        return self.cursor().executescript(script)

    def commit(self):
        ask(op="commit")

    def rollback(self):
        ask(op="rollback")

    def close(self):
        """The migration goes on with other scripts."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.rollback() if kind else self.commit()
        return False

    def __getattr__(self, name):
        raise sqlite3.NotSupportedError(f"db.{name} is not available to a migration")


def told(error, file):
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno or 1)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    kind = type(error).__name__
    return {"failed": f"{kind}: {error}", "line": lines[-1] if lines else 1, "trace": text[-4000:]}


def check(file, text):
    """Compiles only: nothing of the script runs before the transaction does."""
    tree = compile(text, file, "exec", ast.PyCF_ONLY_AST)
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ImportFrom):
            names |= {name.asname or name.name for name in node.names}
    if "up" not in names:
        raise AttributeError("it defines no function up(db)")


def run(file, text, direction):
    module = types.ModuleType("migration")
    module.__file__ = file
    exec(compile(text, file, "exec"), module.__dict__)
    act = getattr(module, direction, None)
    if act is None:
        raise AttributeError(f"it defines no function {direction}(db)")
    act(Connection())


def main():
    threading.Thread(target=leave_when_alone, daemon=True).start()
    while True:
        request = receive()
        try:
            if request["op"] == "check":
                check(request["file"], request["text"])
            else:
                run(request["file"], request["text"], request["direction"])
            send({"op": "done"})
        except BaseException as error:
            send({"op": "failed", **told(error, request["file"])})


main()
