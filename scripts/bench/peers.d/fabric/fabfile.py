"""Fabric: one connection, one remote command for each step."""
import os
import time

from fabric import Connection, task

ROOT, ORIGIN, PORT, RESTART = (os.environ[name] for name in ("ROOT", "ORIGIN", "PORT", "RESTART"))


def host():
    return Connection("127.0.0.1", user=os.environ["USER"], port=int(os.environ["SSH_PORT"]),
                      connect_kwargs={"key_filename": os.environ["SSH_KEY"], "look_for_keys": False, "allow_agent": False})


def serve(connection, release):
    connection.run(f"ln -s {release} {ROOT}/.current && mv -T {ROOT}/.current {ROOT}/current", hide=True)
    connection.run(f"{RESTART} {ROOT} {PORT}", hide=True)


@task
def deploy(_context):
    release = f"{ROOT}/releases/{time.time_ns()}"
    with host() as connection:
        for step in (f"mkdir -p {release}",
                     f"[ -f {ROOT}/repo/HEAD ] || git clone -q --mirror {ORIGIN} {ROOT}/repo",
                     f"git -C {ROOT}/repo remote update --prune",
                     f"git -C {ROOT}/repo archive main | tar -x -f - -C {release}",
                     f"git -C {ROOT}/repo rev-parse main > {release}/REVISION"):
            connection.run(step, hide=True)
        serve(connection, release)
        connection.run(f"ls -1d {ROOT}/releases/* | head -n -30 | xargs -r rm -rf", hide=True)


@task
def rollback(_context):
    with host() as connection:
        before = connection.run(f'ls -1d {ROOT}/releases/* | grep -B1 -x "$(readlink {ROOT}/current)" | head -n 1', hide=True)
        serve(connection, before.stdout.strip())
