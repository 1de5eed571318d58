"""The place where all are compared: one repository, one environment, a private sshd, free ports."""
import getpass
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

import family

KIT = pathlib.Path(__file__).resolve().parent
HERE = KIT.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")).resolve()
BIN = TARGET / "release"
PATH = f"{BIN}:{TARGET}/bench-peers/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SSHD = "/usr/sbin/sshd"
PATIENCE = 30
TAKEN = set()


class Failed(Exception):
    pass


class Lab:
    """A directory with the repository that all deploy, a private sshd, and the environment that all get."""

    def __init__(self, home):
        self.home, self.origin, self.work = home, home / "origin.git", home / "work"
        self.sshd = None
        self.variables = {
            "PATH": PATH, "HOME": str(home / "home"), "USER": getpass.getuser(), "LANG": "C.UTF-8", "HERE": str(HERE),
            "ORIGIN": str(self.origin), "RESTART": str(HERE / "restart.sh"), "PYTHON": shutil.which("python3", path=PATH) or sys.executable,
            "SSH_PORT": str(free_port()), "SSH_KEY": str(home / "user"), "SSH_CONFIG": str(home / "ssh_config"),
            "KNOWN_HOSTS": str(home / "home/.ssh/known_hosts"),
            "ANSIBLE_PIPELINING": "1", "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_NOCOLOR": "1",
        }
        (home / "home/.ssh").mkdir(mode=0o700, parents=True)
        shutil.copytree(KIT, home / "kit")  # some write logs where they stand
        self.ports = {"warm": free_port(), "cold": free_port()}
        self.fill_repository()

    def git(self, *arguments):
        ran = subprocess.run(["git", *arguments], cwd=self.work if self.work.exists() else self.home, env=self.variables,
                             capture_output=True, text=True, check=True)
        return ran.stdout.strip()

    def fill_repository(self):
        self.git("init", "--bare", "--initial-branch=main", str(self.origin))
        self.git("clone", str(self.origin), str(self.work))
        self.git("config", "user.name", "bench")
        self.git("config", "user.email", "bench@example.invalid")
        self.git("checkout", "-B", "main")
        (self.work / "static").mkdir()
        for number in range(40):
            (self.work / "static" / f"f{number}.txt").write_text(os.urandom(1024).hex())
        environments = "".join(
            f'[environments.{name}]\nbranches = ["main"]\nlisten = "127.0.0.1:{port}"\nkeep_warm = {str(name == "warm").lower()}\n'
            for name, port in self.ports.items())
        (self.work / "deploy.toml").write_text(
            f'state = "{self.home}/state"\nlog_dir = "{self.home}/logs"\n[app]\nname = "bench"\n'
            f'run = "exec python3 -S -E app.py $PORT"\n{environments}')
        self.change()

    def change(self, broken=False):
        """One more revision on main; a broken one ends as soon as it starts."""
        if broken:
            (self.work / "app.py").write_text('raise SystemExit("broken release")\n')
        else:
            shutil.copy(KIT / "app.py", self.work)
        (self.work / "static" / "stamp.txt").write_text(str(time.time_ns()))
        self.git("add", "--all")
        self.git("commit", "--message", "change")
        self.git("push", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def start_sshd(self):
        if self.sshd:
            return
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.home / name], check=True)
        port, known = self.variables["SSH_PORT"], self.variables["KNOWN_HOSTS"]
        pathlib.Path(known).write_text(f"[127.0.0.1]:{port} {(self.home / 'host.pub').read_text()}")
        shutil.copy(self.home / "user.pub", self.home / "authorized_keys")
        # An empty home: a start-up file of the user's shell would be paid with every command.
        (self.home / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self.home}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {self.home}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nMaxStartups 100\n"
            f"SetEnv HOME={self.variables['HOME']} PATH={PATH} LANG=C.UTF-8\n")
        (self.home / "ssh_config").write_text(
            f"Host lab\n  HostName 127.0.0.1\n  Port {port}\n  User {self.variables['USER']}\n  IdentityFile {self.home}/user\n"
            f"  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n"
            f"  BatchMode yes\n  LogLevel ERROR\n")
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # sshd that runs as root wants it
        with open(self.home / "sshd.log", "w", encoding="utf-8") as log:
            self.sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", self.home / "sshd_config"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await_answer(lambda: socket.create_connection(("127.0.0.1", int(port)), 1).close() or True, "sshd does not listen")

    def clear(self):
        family.end_others({self.sshd.pid} if self.sshd else set())


def ask(port):
    """The revision that answers now, or None."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            with connection.makefile("rb") as stream:
                return stream.read().rpartition(b"\n\r\n")[2].decode().strip() or None
    except OSError:
        return None


def await_answer(answered, complaint):
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        try:
            if answered():
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise Failed(complaint)


def free_port():
    """Below the ports that outgoing connections get: an app that restarts must find its own free."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(10240, first - 1000), first), 900):
        if port not in TAKEN:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            TAKEN.add(port)
            return port
    sys.exit("error: no free port")
