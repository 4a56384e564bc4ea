"""`make production`: the whole deployment on this machine, without containers; stays until it is told to stop."""

import argparse
import sys

from deploy.local import terminal
from deploy.local.errors import StackError
from deploy.local.staying import stay
from deploy.local.terminal import fail, say
from deploy.production.deployment import Deployment
from deploy.production.folders import folders_of


def main() -> int:
    """Run the deployment; gives the exit code."""
    argparse.ArgumentParser(
        "make production",
        description="Two load balancers, three API and two socket servers, workers, PostgreSQL with a replica, Redis "
        "with Sentinel, RabbitMQ, Prometheus and Alertmanager, on loopback ports from PORT (8700) on.",
        epilog="Settings are environment variables: docs/deployment.md.",
    ).parse_args()
    given = terminal.given()
    try:
        deployment = Deployment(given, folders_of(given), say)
    except StackError as error:
        return fail(error)
    return stay(deployment.folders, deployment, lambda: _welcome(deployment))


def _welcome(deployment: Deployment) -> None:
    places = deployment.places
    user, _, password = deployment.logins()["Flower"].partition(":")
    say(f"ready {deployment.url}")
    say(f"  live board    {deployment.url}/   and https://{places.address('lb-2')}/ (a certificate of its own)")
    say(f"  Flower        {deployment.url}/flower/  (user {user}, password {password})")
    say(f"  Prometheus    http://{places.address('prometheus')}")
    say(f"  Alertmanager  http://{places.address('alertmanager')}")
    say(f"  data          {deployment.folders.data}")
    say(f"  logs          {deployment.folders.logs}")
    say("  drill         make production-drill, in another shell")
    say("  to stop       Ctrl-C")


if __name__ == "__main__":
    sys.exit(main())
