"""The peers, each started with private ports and directories, at an interval of one second."""

import http.client
import threading
import time

import lab


def node_exporter(here):
    """Prometheus's agent for hosts, with its default collectors: (program, port). It samples when it is scraped."""
    found, _ = lab.peer("node_exporter")
    port = lab.free_port()
    program = here.start("node_exporter", [found, f"--web.listen-address=127.0.0.1:{port}"])
    lab.wait_for_page(program, f"http://127.0.0.1:{port}/metrics")
    return program, port


class Scraper(threading.Thread):
    """Scrapes once a second over one connection, as Prometheus does."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ended = port, threading.Event()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        due = time.monotonic()
        while not self.ended.is_set():
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            due += 1
            self.ended.wait(max(0, due - time.monotonic()))
        connection.close()


COLLECTD = """
Hostname "bench"
FQDNLookup false
Interval 1
BaseDir "{dir}"
LoadPlugin cpu
LoadPlugin memory
LoadPlugin swap
LoadPlugin load
LoadPlugin disk
LoadPlugin interface
LoadPlugin df
LoadPlugin contextswitch
LoadPlugin vmem
LoadPlugin network
<Plugin network>
  Server "127.0.0.1" "{port}"
</Plugin>
"""


def collectd(here):
    """collectd reading what our agent reads, and sending it over UDP to a port where nobody listens."""
    found, _ = lab.peer("collectd")
    own = here.dir / "collectd"
    own.mkdir()
    config = own / "collectd.conf"
    config.write_text(COLLECTD.format(dir=own, port=lab.free_port()))
    return here.start("collectd", [found, "-f", "-C", config, "-P", own / "pid"])


NETDATA = """
[global]
    run as user = {user}
[directories]
    cache = {dir}/cache
    lib = {dir}/lib
    log = {dir}/log
    home = {dir}
[cloud]
    enabled = no
[registry]
    enabled = no
[statsd]
    enabled = no
[plugins]
    statsd = no
[web]
    bind to = 127.0.0.1
"""


def netdata(here):
    """netdata as it comes: one second, all its plugins, its own database and alarms; without its cloud."""
    import getpass

    found, _ = lab.peer("netdata")
    own = here.dir / "netdata"
    for name in ("cache", "lib", "log"):
        (own / name).mkdir(parents=True)
    config, port = own / "netdata.conf", lab.free_port()
    config.write_text(NETDATA.format(dir=own, user=getpass.getuser()))
    program = here.start("netdata", [found, "-D", "-c", config, "-p", port, "-P", own / "pid"])
    lab.wait_for_page(program, f"http://127.0.0.1:{port}/api/v1/info")
    return program
