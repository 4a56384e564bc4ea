"""How a socket can end: each close code a named value with its sentence."""

from __future__ import annotations

from typing import Final, NamedTuple

from models.errors import NotReady, ScoreboardError


class Closing(NamedTuple):
    """A close code (RFC 6455 §7.4) and what the other side is told: a name for programs, a sentence for people."""

    code: int
    name: str
    sentence: str

    @property
    def reason(self) -> str:
        """What travels in the close frame: `name: sentence`."""
        return f"{self.name}: {self.sentence}"


GOING_AWAY: Final = Closing(1001, "going_away", "This server stops; connect again and resume.")
PROTOCOL_ERROR: Final = Closing(1002, "protocol_error", "That was no WebSocket frame of a client.")
NOT_UTF8: Final = Closing(1007, "not_utf8", "A text message must be UTF-8.")
INTERNAL: Final = Closing(1011, "internal", "Something went wrong here; connect again.")
TOO_SLOW: Final = Closing(1013, "too_slow", "What was sent could not be delivered in time; connect again.")
FULL: Final = Closing(1013, "full", "This server has all the sockets it can carry; connect again later.")
NOT_READY: Final = Closing(1013, "not_ready", "Whether the token holds cannot be told now; connect again in a moment.")

NO_TEXT: Final = Closing(4400, "no_text", "Messages are JSON in text frames; this one was binary.")
TOO_LARGE: Final = Closing(4400, "too_large", "A message has 16 KiB at most.")
MALFORMED: Final = Closing(4400, "malformed", "A message is a JSON object with a member type.")
TYPE_UNKNOWN: Final = Closing(4400, "type_unknown", "A message's type is subscribe, ping or score.")
MEMBERS_INVALID: Final = Closing(4400, "members_invalid", "A member is missing, unknown or out of bounds.")
NOT_SUBSCRIBED: Final = Closing(4400, "not_subscribed", "Subscribe within 10 seconds.")

TOKEN_INVALID: Final = Closing(4401, "token_invalid", "The token is not one of ours; sign in again.")
TOKEN_EXPIRED: Final = Closing(4401, "token_expired", "The token has expired; subscribe with a new one.")
TOKEN_REVOKED: Final = Closing(4401, "token_revoked", "The token was revoked; sign in again.")
USER_BLOCKED: Final = Closing(4401, "user_blocked", "This player is blocked.")

BOARD_UNKNOWN: Final = Closing(4404, "board_unknown", "There is no board of that name.")

TOO_MANY_OF_USER: Final = Closing(4429, "too_many_of_user", "This player has all the sockets they may have.")
ADDRESS_BLOCKED: Final = Closing(4429, "address_blocked", "This address is blocked for now.")
TOO_MANY_MESSAGES: Final = Closing(4429, "too_many_messages", "Send fewer messages.")
TOO_MANY_CONNECTIONS: Final = Closing(4429, "too_many_connections", "Connect less often from this address.")
TOO_MANY_SOCKETS: Final = Closing(4429, "too_many_sockets", "This address has all the sockets it may have.")

#: Why a token did not hold, by the code of the error that says so.
BY_ERROR: Final = {closing.name: closing for closing in (TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_REVOKED, USER_BLOCKED)}


def of_error(error: ScoreboardError) -> Closing:
    """How a socket ends whose token was refused for this cause."""
    if error.code in BY_ERROR:
        return BY_ERROR[error.code]
    return NOT_READY if isinstance(error, NotReady) else TOKEN_INVALID
