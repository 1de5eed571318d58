"""The processes that a benchmark started, all of them: what CPU they used, and their end.

`run` makes this process the one that orphans below it fall to, and works in a child. So whatever
was started stays in one tree, also what became a daemon or belongs to a session of sshd. Only
processes of that tree are ever counted or ended.
"""
import ctypes
import os
import pathlib
import resource
import signal
import sys
import time
import traceback

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")


def run(work):
    """Gives the exit status of `work`, after which nothing that it started is left."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("error: this kernel cannot keep orphans together")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = 1  # whatever happens, the frames above belong to the parent
        try:
            work()
            status = 0
        except KeyboardInterrupt:
            status = 130
        except SystemExit as error:
            print(error, file=sys.stderr)
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    try:
        while True:
            ended, status = os.wait()
            if ended == worker:
                return os.waitstatus_to_exitcode(status)
    except KeyboardInterrupt:
        return 130
    finally:
        end_below(os.getpid(), spare=set(), reap=True)


def table():
    """For each process: its parent, whether it runs, and the ticks of itself and of its reaped children."""
    rows = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            rows[int(entry.name)] = (int(fields[1]), fields[0] != "Z", [int(field) for field in fields[11:15]])
    return rows


def below(top, rows):
    children = {}
    for pid, (parent, _, _) in rows.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [top]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def cpu_seconds():
    """User and system time of everything in the tree until now, without that of this very process."""
    rows, me, top = table(), os.getpid(), os.getppid()
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(rows[top][2][2:]) + sum(sum(rows[pid][2]) for pid in below(top, rows) if pid != me)
    return ticks / TICK + reaped.ru_utime + reaped.ru_stime


def end_others(spared):
    """Ends what the benchmark started, but not itself, nor the processes of `spared` and below them."""
    rows = table()
    keep = {os.getpid(), *spared, *(pid for one in spared for pid in below(one, rows))}
    end_below(os.getppid(), keep)


def end_below(top, spare, reap=False):
    begun = time.monotonic()
    told = set()
    while True:
        rows = table()
        alive = [pid for pid in below(top, rows) if pid not in spare and rows[pid][1]]
        if not alive:
            break
        late = time.monotonic() - begun > 5
        for pid in alive:
            if late or pid not in told:
                told.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                except ProcessLookupError:
                    pass
        time.sleep(0.02)
        while reap and collect():
            pass
    while reap and collect():
        pass


def collect():
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0
