"""What every bench needs: our programs and their peers started in a directory of their own and stopped by pid, what the
kernel says of a process, quantiles, and a table. Python's standard library only.

Nothing is written outside a temporary directory, which is removed at the end, whatever happens.
"""

import datetime
import json
import math
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
# BENCH_PROFILE=debug tries a bench out without waiting for the release build; its figures are worth nothing.
PROFILE = os.environ.get("BENCH_PROFILE", "release")
# A program that neither answers nor ends within this many seconds hangs.
PATIENCE_S = 30

# The peers' programs and Debian's packages.
PEERS = {
    "node_exporter": (("prometheus-node-exporter", "node_exporter"), "prometheus-node-exporter"),
    "collectd": (("collectd",), "collectd-core"),
    "netdata": (("netdata",), "netdata"),
}


class BenchError(Exception):
    """A bench that cannot go on; its text says why."""


# === programs ===


class Program:
    """A process that we started, with its output in a file, ended by its pid."""

    def __init__(self, name, arguments, log, env=None):
        self.name, self.log = name, log
        with open(log, "wb") as out:
            environment = {**os.environ, **(env or {})}
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment,
                # Ctrl-C is for the bench, which then ends its programs in order.
                start_new_session=True,
            )
        self.pid = self.process.pid

    def last_words(self):
        return self.log.read_text(errors="replace")[-2000:]

    def assert_runs(self):
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.process.returncode}:\n{self.last_words()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                print(f"{self.name} did not end within {PATIENCE_S} s; killed", file=sys.stderr)
                self.process.kill()
                self.process.wait()


class Lab:
    """A temporary directory and the programs that run in it; `with Lab() as lab:` ends them in reverse order."""

    def __init__(self):
        self.programs, self.count = [], 0

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="monitoring-bench-"))
        # What `kill` does must clean up as Ctrl-C does.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for program in reversed(self.programs):
            program.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, name, arguments, env=None):
        self.count += 1
        program = Program(name, arguments, self.dir / f"{self.count}-{name}.log", env)
        self.programs.append(program)
        return program

    def stop(self, program):
        program.stop()
        self.programs.remove(program)

    def kill(self, program):
        """As a crash does it: without a word to anybody."""
        program.process.kill()
        program.process.wait()
        self.programs.remove(program)

    def aggregator(self, *more, grpc=None):
        """An aggregator on this lab's SQLite database: (program, URL for agents, URL of the pages). `grpc` is the address
        for agents, where it must be the same again."""
        grpc, http = grpc or f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        program = self.start("aggregator", [
            binary("monitoring-aggregator"), "serve", "--database", f"sqlite://{self.dir}/aggregator.db",
            "--listen-grpc", grpc, "--listen-http", http, *more,
        ])
        wait_for_page(program, f"http://{http}/status")
        return program, f"http://{grpc}", f"http://{http}"

    def agent(self, aggregator, service, *more, http="127.0.0.1:0", report="127.0.0.1:0"):
        """An agent with a new spool; it is started, not awaited."""
        return self.start("agent", [
            binary("monitoring-agent"), "run", "--aggregator", aggregator, "--service", service,
            "--spool-dir", self.dir / f"spool-{service}", "--listen-http", http, "--listen-report", report, *more,
        ])

    def watched(self, arguments):
        """A helper process of a bench; it talks over pipes."""
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        helper = Helper(process)
        self.programs.append(helper)
        return helper


class Helper:
    """A helper process that does one thing per line and answers with one line."""

    def __init__(self, process):
        self.process, self.pid, self.name = process, process.pid, "helper"

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / PROFILE


def binary(name):
    path = target() / name
    if not path.exists():
        raise BenchError(f"{name} is not built; run: cargo build --locked {'--release' if PROFILE == 'release' else ''}")
    return path


def example(name):
    """A helper of a bench, which stands in a crate's `examples/`."""
    path = target() / "examples" / name
    if not path.exists():
        raise BenchError(f"example {name} is not built; run: cargo build --locked --examples")
    return path


def peer(name):
    """The peer's program, or `None` and what to do about it."""
    programs, package = PEERS[name]
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    for program in programs:
        found = shutil.which(program, path=search)
        if found:
            return found, None
    return None, f"not installed (apt-get install {package})"


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


# === pages ===


def page(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def page_json(url):
    return json.loads(page(url))


def wait_for_page(program, url):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        program.assert_runs()
        try:
            return page(url)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise BenchError(f"{program.name} does not answer at {url}:\n{program.last_words()}")


# === what the kernel says of a process ===


def family(pid):
    """A process and everything that it started."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu_ticks_s(pid):
    """utime + stime of a process, with its threads that have ended and children that it has waited for; steps of 10 ms."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def cpu_exact_s(pid):
    """Time on the CPU by the scheduler's own count, in nanoseconds, over the threads that live."""
    total_ns = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total_ns += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return total_ns / 1e9


def memory_mib(pid):
    """(RSS, PSS) in MiB; PSS counts a shared page by its share. NaN where the kernel does not let us look."""
    sizes = {"Rss": math.nan, "Pss": math.nan}
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) / 1024
    except OSError:
        pass
    return sizes["Rss"], sizes["Pss"]


# === figures ===


def quantile(values, share):
    """The smallest value that `share` of all do not exceed (nearest rank). NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else math.nan


def summary(values, unit, digits=1):
    p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
    return f"{p50:.{digits}f} / {p99:.{digits}f} {unit} (n={len(values)})"


def header(title):
    """Says what is measured, on what, when, and with which command, so that a figure can be copied with them."""
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    command = " ".join([f"bench/{pathlib.Path(sys.argv[0]).name}", *sys.argv[1:]])
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n## {title}\n")
    print(f"    {command}")
    print(f"    {os.cpu_count()} × {model}, Linux {platform.release()}, load {load}, {now}")
    if PROFILE != "release":
        print(f"    built as {PROFILE}: these figures say nothing")
    print(flush=True)


def table(columns, rows):
    widths = [max(len(str(row[index])) for row in [columns, *rows]) for index in range(len(columns))]
    for row in [columns, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |")
    print(flush=True)


def main(run):
    """Runs a bench: a `BenchError` is one line and a failure, Ctrl-C an end."""
    try:
        run()
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
