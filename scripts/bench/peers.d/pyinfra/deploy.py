import os
import time

from pyinfra.operations import files, server

ROOT, ORIGIN, PORT, RESTART = (os.environ[name] for name in ("ROOT", "ORIGIN", "PORT", "RESTART"))
release = f"{ROOT}/releases/{time.time_ns()}"

files.directory(name="directory", path=release)
server.shell(name="mirror", commands=[f"[ -f {ROOT}/repo/HEAD ] || git clone -q --mirror {ORIGIN} {ROOT}/repo",
                                      f"git -C {ROOT}/repo remote update --prune"])
server.shell(name="code and revision", commands=[f"git -C {ROOT}/repo archive main | tar -x -f - -C {release}",
                                                 f"git -C {ROOT}/repo rev-parse main > {release}/REVISION"])
server.shell(name="swap", commands=[f"ln -s {release} {ROOT}/.current && mv -T {ROOT}/.current {ROOT}/current"])
server.shell(name="restart", commands=[f"{RESTART} {ROOT} {PORT}"])
server.shell(name="cleanup", commands=[f"ls -1d {ROOT}/releases/* | head -n -30 | xargs -r rm -rf"])
