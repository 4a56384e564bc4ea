"""gunicorn for the API: processes with an event loop each, and a core each where the machine is ours."""

from __future__ import annotations

from typing import Any

from prometheus_client import multiprocess

from models.logs import server_logging
from models.settings import Settings
from models.succession import begin_anew, retire_one
from web.api.serving.listener import Shares
from web.cores import take_a_core

settings = Settings.from_env()
bind = [f"{settings.host}:{settings.port}"]
worker_class = "web.api.serving.worker.Worker"
workers = settings.web_processes
#: A request has an answer after nine seconds, whatever is frozen.
graceful_timeout = 12
timeout = 30
#: Longer than a load balancer keeps its own, so that it is never surprised by a connection that has just ended.
keepalive = 75
backlog = 4096
accesslog = None
errorlog = "-"
logconfig_dict = server_logging("scoreboard-web")
control_socket_disable = True  # one more door, and two stacks of one user would share it
proc_name = "scoreboard-web"
on_reload = begin_anew
shares = Shares(workers)


def pre_fork(_server: Any, worker: Any) -> None:
    """Give the process a place among those that share the connections."""
    worker.share = shares.take()


def post_worker_init(worker: Any) -> None:
    """Give the process its core, and let one that it follows go."""
    if settings.pin_cores:
        take_a_core()
    retire_one(worker)


def worker_exit(_server: Any, worker: Any) -> None:
    """Take it out of the gauges itself: its master may be another by now."""
    if settings.metrics_dir:
        multiprocess.mark_process_dead(worker.pid)


def child_exit(_server: Any, worker: Any) -> None:
    """Take a gone process out of the gauges, and its connections out of the count."""
    worker.share.give_back()
    if settings.metrics_dir:
        multiprocess.mark_process_dead(worker.pid)
