"""Load on a running server: ``python -m benchmarks.load_test http://127.0.0.1:8000``.

An open loop: requests leave at Poisson times whatever the server does, and a latency counts from
the time a request was meant to leave, so a server that stalls cannot hide it (no coordinated
omission). First the capacity is measured by a few connections that ask without pause, then 0.8, 1,
2 and 5 times as much is sent. Only loopback addresses are loaded, for a bounded time and count.

    --malformed 10000     damaged pictures, which must get 4xx, and the next good one its answer
    --half-sent 900       requests that stop in the middle, while good ones go on
    --memory 100000 --pid P   slope of the resident memory of process P over that many requests
"""

import argparse
import asyncio
import ipaddress
import json
import random
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.load_client import NO_CONNECTION, Pool, ask, good_request, http, picture

LOADS = (0.8, 1.0, 2.0, 5.0)
MAX_REQUESTS = 200_000
MAX_SECONDS = 600
CLIENT_S = 10.0
GOOD_SHARE = 0.99
"""Of the requests under which memory is measured; refusing costs a server less than answering."""


def main(argv=None):
    """Parse, run what was asked for, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--kind", choices=("predict", "infer"), default="predict")
    parser.add_argument("--malformed", type=int, default=0)
    parser.add_argument("--half-sent", type=int, default=0)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if options.memory and options.pid is None:
        parser.error("--memory needs --pid")
    try:
        address = loopback(options.url)
    except ValueError as wrong:
        parser.error(str(wrong))
    if not 0.1 <= options.seconds <= MAX_SECONDS:
        parser.error(f"--seconds must be in [0.1, {MAX_SECONDS}]")
    for name in ("malformed", "half_sent", "memory"):
        if getattr(options, name) > MAX_REQUESTS:
            parser.error(f"at most {MAX_REQUESTS} requests are sent")
    print(json.dumps(asyncio.run(measure(address, options)), indent=2))


def loopback(url):
    """(host, port) of a loopback URL, or ValueError."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if parts.scheme != "http" or not local or parts.port is None:
        raise ValueError(f"{url} is no http://127.0.0.1:PORT: only this machine is loaded")
    return host, parts.port


async def measure(address, options):
    """Everything that was asked for, as JSON values."""
    request = await good_request(address, options.kind, options.seed)
    chance = random.Random(options.seed)
    if options.malformed:
        return {"malformed": await malformed(address, options.malformed, chance)}
    if options.half_sent:
        return {"half_sent": await half_sent(address, options.half_sent, request, chance)}
    if options.memory:
        return {"memory": await memory(address, options.memory, options.pid, request)}
    capacity = await closed_loop(address, request, min(options.seconds, 10.0))
    result = {"capacity_per_s": round(capacity, 1), "kind": options.kind, "loads": []}
    for load in LOADS:
        row = await open_loop(address, request, load * capacity, options.seconds, chance)
        result["loads"].append({"load": load, **row})
    return result


async def closed_loop(address, request, seconds, clients=128):
    """Good answers a second when that many clients ask without pause."""
    pool, end = Pool(address), time.perf_counter() + seconds
    answered = 0

    async def client():
        nonlocal answered
        while time.perf_counter() < end:
            status, _ = await pool.ask(request)
            answered += status == 200
            if status != 200:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(client() for _ in range(clients)))
    pool.close()
    return max(answered / seconds, 1.0)


async def open_loop(address, request, rate, seconds, chance):
    """What becomes of requests at Poisson times of this rate."""
    pool, answers, tasks = Pool(address), [], set()
    begin = time.perf_counter()
    due = begin

    async def one(meant):
        status, _ = await pool.ask(request)
        answers.append((status, time.perf_counter() - meant))

    for _ in range(MAX_REQUESTS):
        due += chance.expovariate(rate)
        if due - begin > seconds:
            break
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=CLIENT_S)
    took = max(time.perf_counter() - begin, seconds)
    sent = len(answers) + len(tasks)
    for task in tasks:
        task.cancel()
    pool.close()
    good = sorted(t for status, t in answers if status == 200)
    shed = sorted(t for status, t in answers if status == 503)
    return {
        "sent": sent,
        "offered_per_s": round(rate, 1),
        "goodput_per_s": round(len(good) / took, 1),
        "p50_ms": milliseconds(good, 0.5),
        "p99_ms": milliseconds(good, 0.99),
        "shed_share": round(len(shed) / max(sent, 1), 4),
        "shed_p99_ms": milliseconds(shed, 0.99),
        "late_share": round(sum(status == 504 for status, _ in answers) / max(sent, 1), 4),
        "no_connection": sum(status == NO_CONNECTION for status, _ in answers),
        "failed": len(tasks)
        + sum(status not in (200, 503, 504, NO_CONNECTION) for status, _ in answers),
    }


def milliseconds(values, quantile):
    """A quantile of sorted seconds, in ms, or None without values."""
    return round(1000 * values[int(quantile * (len(values) - 1))], 2) if values else None


async def malformed(address, count, chance):
    """Damaged pictures one after another; statuses, and whether good ones stay right."""
    face = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)
    good = picture(face)
    reference = predicted(await ask(address, http("POST", "/predict?detect=0", good)))
    statuses, slowest, wrong = {}, 0.0, 0
    pool = Pool(address)
    for turn in range(count):
        body = bytearray(good)
        for _ in range(chance.randint(1, 10)):
            at = chance.randrange(len(body))
            match chance.randrange(3):
                case 0:
                    body[at] ^= 1 << chance.randrange(8)
                case 1:
                    del body[max(1, at) : at + chance.randint(1, 30)]
                case 2:
                    body[at:at] = chance.randbytes(chance.randint(1, 30))
        began = time.perf_counter()
        status, _ = await pool.ask(http("POST", "/predict?detect=0", bytes(body)))
        slowest = max(slowest, time.perf_counter() - began)
        statuses[status] = statuses.get(status, 0) + 1
        if turn % 100 == 99:
            wrong += predicted(await pool.ask(http("POST", "/predict?detect=0", good))) != reference
    pool.close()
    server_errors = sum(n for status, n in statuses.items() if status == 0 or status >= 500)
    return {
        "statuses": statuses,
        "server_errors": server_errors,
        "good_ones_wrong": wrong,
        "slowest_ms": round(1000 * slowest, 1),
    }


def predicted(answer):
    """What of an answer must not change."""
    return json.loads(answer[1]).get("probabilities") if answer[0] == 200 else answer[0]


async def half_sent(address, count, request, chance):
    """Requests that stop half-way, all at once; are they closed, and how do good ones fare?"""
    links, refused = [], 0
    for _ in range(count):
        try:
            link = await asyncio.wait_for(asyncio.open_connection(*address), CLIENT_S)
        except (OSError, TimeoutError):
            refused += 1
            continue
        link[1].write(request[: chance.randrange(len(request))])
        links.append(link)
    during = await open_loop(address, request, 20.0, 15.0, chance)
    alive = 0
    for reader, writer in links:
        try:
            await asyncio.wait_for(reader.read(), 0.01)
        except TimeoutError:
            alive += 1
        except OSError:
            pass
        writer.close()
    return {"sent": count, "refused": refused, "alive_after_15_s": alive, "good_ones": during}


async def memory(address, count, pid, request):
    """KiB per 1000 requests that process `pid` grows by, over the last four fifths."""
    pool, samples, good = Pool(address), [], 0
    every = max(1, count // 200)
    for turn in range(count):
        status, _ = await pool.ask(request)
        good += status == 200
        if turn % every == 0:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            samples.append((turn, pages * 4, len(list(Path(f"/proc/{pid}/fd").iterdir()))))
    pool.close()
    if good < GOOD_SHARE * count:
        raise SystemExit(f"Only {good} of {count} requests got a 200: their slope says nothing.")
    kept = samples[len(samples) // 5 :]
    fit = statistics.linear_regression([s[0] for s in kept], [s[1] for s in kept])
    return {
        "requests": count,
        "answered_200": good,
        "KiB_per_1000": round(1000 * fit.slope, 2),
        "open_files_change": kept[-1][2] - kept[0][2],
    }


if __name__ == "__main__":
    main()
