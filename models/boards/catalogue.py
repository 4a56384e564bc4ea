"""The catalogue of actions and boards that people edit: what an action is worth, and where; pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ActionUnknown, BoardUnknown, CatalogueInvalid, FieldError, ValidationFailed

INT32_MOST = 2**31 - 1
_BOARD_NAME = re.compile(r"\A[A-Za-z0-9_.\-]{1,64}\Z")
_ACTION_NAME = re.compile(r"\A[a-z0-9_]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Board:
    """One leaderboard."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Action:
    """What a player can do: `points × value` on each of its boards."""

    name: str
    points: int
    boards: tuple[str, ...]
    value_least: int
    value_most: int
    cooldown_seconds: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All boards and actions."""

    boards: Mapping[str, Board]
    actions: Mapping[str, Action]

    def board(self, name: str) -> Board:
        """The board of that name.

        Raises:
            BoardUnknown: there is none.
        """
        try:
            return self.boards[name]
        except KeyError:
            raise BoardUnknown from None

    def action_for(self, name: str, value: int) -> Action:
        """The action of that name, if it can be done with this value.

        Raises:
            ActionUnknown: there is none of that name.
            ValidationFailed: the value is out of its bounds.
        """
        action = self.actions.get(name)
        if action is None:
            raise ActionUnknown(errors=(FieldError("/action", "is not in the catalogue"),))
        if not action.value_least <= value <= action.value_most:
            bounds = f"must be from {action.value_least} to {action.value_most}"
            raise ValidationFailed(errors=(FieldError("/value", bounds),))
        return action


def load_catalogue(path: Path) -> Catalogue:
    """Read and check the file.

    Raises:
        CatalogueInvalid: with file, line and fault.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise CatalogueInvalid(f"The catalogue {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CatalogueInvalid(f"The catalogue {path} is not text in UTF-8: {error.reason}") from error
    return parse_catalogue(text, source=str(path))


def parse_catalogue(text: str, *, source: str) -> Catalogue:
    """The catalogue that `text` (TOML) describes; `source` stands before the line in what is raised.

    Raises:
        CatalogueInvalid: with source, line and fault.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueInvalid(f"{source}: {error}") from error
    reader = _Reader(text, source)
    reader.expect(set(tree) <= {"boards", "actions"}, None, "only [boards.…] and [actions.…] are known here")
    boards = {name: reader.board(name, entry) for name, entry in reader.tables(tree, "boards")}
    reader.expect(bool(boards), None, "there is no board; add [boards.global]")
    actions = {name: reader.action(name, entry, boards) for name, entry in reader.tables(tree, "actions")}
    return Catalogue(boards=boards, actions=actions)


class _Reader:
    """Checks entries and knows the line of each."""

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._source = source

    def tables(self, tree: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
        entries = tree.get(kind, {})
        self.expect(isinstance(entries, dict), kind, f"{kind} must be tables")
        for name, entry in entries.items():
            self.expect(isinstance(entry, dict), f"{kind}.{name}", f"{kind}.{name} must be a table")
        return list(entries.items())

    def board(self, name: str, entry: dict[str, Any]) -> Board:
        where = f"boards.{name}"
        self.expect(bool(_BOARD_NAME.match(name)), where, f"board name {name!r} must be letters, digits, _ . -")
        self._known(entry, where, {"title"})
        title = entry.get("title", name)
        self.expect(isinstance(title, str) and bool(title.strip()), where, "title must be a text", "title")
        return Board(name, title)

    def action(self, name: str, entry: dict[str, Any], boards: Mapping[str, Board]) -> Action:
        where = f"actions.{name}"
        self.expect(bool(_ACTION_NAME.match(name)), where, f"action name {name!r} must be a-z, digits, _")
        self._known(entry, where, {"points", "boards", "value", "cooldown_seconds"})
        points = self._integer(entry, where, "points", None)
        names = entry.get("boards")
        if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
            raise self._fault(where, "boards must list each board of the action once", "boards")
        for board in names:
            self.expect(board in boards, where, f"there is no board {board!r}", "boards")
        bounds = entry.get("value", {})
        if not isinstance(bounds, dict):
            raise self._fault(where, "value must look like { least = 1, most = 100 }", "value")
        self._known(bounds, where, {"least", "most"})
        least = self._integer(bounds, where, "least", 1, at="value")
        most = self._integer(bounds, where, "most", max(least, 1), at="value")
        self.expect(least <= most, where, "value: least is greater than most", "value")
        cooldown = self._integer(entry, where, "cooldown_seconds", 0)
        self.expect(cooldown >= 0, where, "cooldown_seconds must not be negative", "cooldown_seconds")
        return Action(name, points, tuple(names), least, most, cooldown)

    def _integer(self, entry: dict[str, Any], where: str, member: str, default: int | None, at: str = "") -> int:
        value = entry.get(member, default)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > INT32_MOST:
            raise self._fault(where, f"{member} must be a whole number of at most {INT32_MOST}", at or member)
        return value

    def _known(self, entry: dict[str, Any], where: str, members: set[str]) -> None:
        for member in entry:
            self.expect(member in members, where, f"{member!r} is not known; {', '.join(sorted(members))} are", member)

    def expect(self, holds: bool, where: str | None, fault: str, member: str = "") -> None:
        if not holds:
            raise self._fault(where, fault, member)

    def _fault(self, where: str | None, fault: str, member: str) -> CatalogueInvalid:
        line = self._line(where, member)
        return CatalogueInvalid(f"{self._source}, line {line}: [{where or 'file'}] {fault}")

    def _line(self, where: str | None, member: str) -> int:
        """The line of a member in its table, or of the table's head, or 1."""
        head = 0
        for number, line in enumerate(self._lines, start=1):
            stripped = line.strip()
            if stripped.startswith("["):
                if head:
                    break
                if where is not None and stripped.replace('"', "").startswith(f"[{where}]"):
                    head = number
            elif head and member and re.match(rf'"?{re.escape(member)}"?\s*=', stripped):
                return number
        return head or 1
