"""gunicorn for the sockets: gevent workers, the hub started after the fork and closed at the exit."""

from __future__ import annotations

import resource
from typing import Any

import gevent
from prometheus_client import multiprocess

from models import garbage
from models.logs import server_logging
from models.settings import Settings
from models.succession import begin_anew, retire_one

EXTENSION = "scoreboard.live"

settings = Settings.from_env()
bind = [f"{settings.host}:{settings.sockets_port}"]
worker_class = "gevent"
#: One process serves thousands of sockets; more of them divide the time of a broadcast.
workers = settings.sockets_processes
#: Only handshakes and health checks count here: a socket that was handed over is no connection of gunicorn's.
worker_connections = 2_000
#: 1001 goes out within a tenth of a second and is answered within two; nothing else is worth waiting for.
graceful_timeout = 3
timeout = 30
keepalive = 5
backlog = 4096
accesslog = None
errorlog = "-"
logconfig_dict = server_logging("scoreboard-sockets")
control_socket_disable = True  # one more door, and two stacks of one user would share it
proc_name = "scoreboard-sockets"
on_reload = begin_anew

#: How soon a worker notices that it was asked to stop.
STOPPING_SECONDS = 0.1


def when_ready(server: Any) -> None:
    """Let this process and its workers have as many descriptors as the machine allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.log.info("sockets: up to %s descriptors a process", hard)


def post_worker_init(worker: Any) -> None:
    """Start the hub in the worker's own event loop, and watch for the order to stop."""
    live = worker.wsgi.extensions[EXTENSION]
    live.start()
    garbage.settle()

    def stop_when_asked() -> None:
        while worker.alive:
            gevent.sleep(STOPPING_SECONDS)
        live.stop()

    worker.stopping_sockets = gevent.spawn(stop_when_asked)
    retire_one(worker)


def worker_exit(_server: Any, worker: Any) -> None:
    """See the farewell through to its end."""
    stopping = getattr(worker, "stopping_sockets", None)
    if stopping is not None:
        worker.alive = False
        stopping.join(timeout=graceful_timeout)
    if settings.metrics_dir:  # its master may be another by now
        multiprocess.mark_process_dead(worker.pid)


def child_exit(_server: Any, worker: Any) -> None:
    """Take a gone worker's sockets out of the gauges."""
    if settings.metrics_dir:
        multiprocess.mark_process_dead(worker.pid)
