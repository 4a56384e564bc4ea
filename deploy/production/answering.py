"""Whether something answers by HTTP, as a part's `ready` asks."""

import urllib.request
from collections.abc import Callable
from typing import Final

ANSWER_SECONDS: Final = 1.5  # a part's `ready` must answer within two


def answers(url: str) -> bool:
    """Whether a GET is answered 200 now; our own machine, never through a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def answering(url: str) -> Callable[[], bool]:
    """`answers(url)`, to be asked again and again."""
    return lambda: answers(url)
