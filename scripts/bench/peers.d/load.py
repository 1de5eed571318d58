"""Visitors at a constant rate, whatever the answers: a connection for each request, nothing asked twice."""
import asyncio
import threading
import time

PATIENCE = 2


class Load(threading.Thread):
    """Asks from `start()` until `finish()`, which gives the answers in the order of the questions."""

    def __init__(self, port, rate):
        super().__init__()
        self.port, self.rate = port, rate
        self.stopping = threading.Event()
        self.answers = []  # (asked at, revision or None)

    def run(self):
        asyncio.run(self.pump())

    def finish(self):
        self.stopping.set()
        self.join()
        return sorted(self.answers, key=lambda answer: answer[0])

    async def pump(self):
        begun, asked, asking = time.monotonic(), 0, set()
        while not self.stopping.is_set():
            await asyncio.sleep(max(0, begun + asked / self.rate - time.monotonic()))
            asking.add(asyncio.create_task(self.ask()))
            asked += 1
            if asked % 1000 == 0:
                asking = {task for task in asking if not task.done()}
        await asyncio.gather(*asking)

    async def ask(self):
        at = time.monotonic()
        try:
            revision = await asyncio.wait_for(question(self.port), PATIENCE)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
            revision = None
        self.answers.append((at, revision))


async def question(port):
    """The revision that answers; ValueError unless it is a whole 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if len(words) < 2 or words[1] != b"200" or len(body) != 41:
            raise ValueError("not a whole 200")
        return body.decode().strip()
    finally:
        writer.close()


def outage(answers):
    """Seconds from the first question of a row of losses to the next that was answered; the longest such row."""
    longest, since = 0.0, None
    for at, revision in answers:
        if revision is None:
            since = at if since is None else since
        elif since is not None:
            longest, since = max(longest, at - since), None
    if since is not None:
        longest = max(longest, answers[-1][0] - since)
    return longest


def stale(answers, wanted):
    """How many questions the old revision answered although an earlier one was answered by the new."""
    seen = [revision for _, revision in answers if revision is not None]
    return sum(revision != wanted for revision in seen[seen.index(wanted):]) if wanted in seen else 0
