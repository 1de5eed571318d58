import os

from pyinfra.operations import server

ROOT, PORT, RESTART = (os.environ[name] for name in ("ROOT", "PORT", "RESTART"))

server.shell(name="swap", commands=[f'before=$(ls -1d {ROOT}/releases/* | grep -B1 -x "$(readlink {ROOT}/current)" | head -n 1); '
                                    f"ln -s $before {ROOT}/.current && mv -T {ROOT}/.current {ROOT}/current"])
server.shell(name="restart", commands=[f"{RESTART} {ROOT} {PORT}"])
