"""The fields of log lines (`fields.yml`), and whether a line keeps to them."""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).with_name("fields.yml")
GROUPS: Final = ("ecs", "own", "edge", "collected")
LONG_MOST: Final = 2**63 - 1
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LONG_MOST


def _is_float(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_instant(value: Any) -> bool:
    try:
        return bool(_INSTANT.fullmatch(value)) and datetime.fromisoformat(value) is not None
    except (TypeError, ValueError):
        return False


def _is_address(value: Any) -> bool:
    try:
        return ipaddress.ip_address(value) is not None and isinstance(value, str)
    except ValueError:
        return False


#: What each of Elasticsearch's types takes here: it would take more (a number as text), which then sorts as text.
TAKES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "constant_keyword": _is_text,
    "date": _is_instant,
    "float": _is_float,
    "ip": _is_address,
    "keyword": _is_text,
    "long": _is_long,
    "match_only_text": _is_text,
    "wildcard": _is_text,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its type, whether it may be a list, what it may hold, and whether it can be searched for."""

    name: str
    type: str
    many: bool = False
    one_of: tuple[str, ...] = ()
    indexed: bool = True

    def takes(self, value: Any) -> bool:
        """Whether Elasticsearch takes the value as it is meant."""
        values = value if self.many and isinstance(value, list) else [value]
        return all(TAKES[self.type](each) and (not self.one_of or each in self.one_of) for each in values)


@dataclass(frozen=True, slots=True)
class Fields:
    """All fields, and those that each line of ours has."""

    version: str
    always: tuple[str, ...]
    by_name: Mapping[str, Field]
    groups: Mapping[str, frozenset[str]]

    def faults(self, line: str, *, edge: bool = False) -> list[str]:
        """What is wrong with a line of ours, a sentence each; none when it may go to Elasticsearch.

        `edge` says that it is a load balancer's.
        """
        try:
            document = json.loads(line)
        except ValueError:
            return ["it is no JSON"]
        if not isinstance(document, dict):
            return ["it is no object"]
        values = list(leaves(document))
        names = {name for name, _ in values}
        found = [f"{name} is missing" for name in self.always if name not in names]
        found += [f"{name} comes twice" for name in names if len([1 for each, _ in values if each == name]) > 1]
        for name, value in values:
            field = self.by_name.get(name)
            if field is None or name in self.groups["collected"] or (name in self.groups["edge"] and not edge):
                found.append(f"{name} is no field of ours")
            elif not field.takes(value):
                found.append(f"{name} is {field.type}, and cannot be {value!r:.80}")
        return found


def leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a document by their full names, dotted or nested as they may be."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def read(path: Path = FILE) -> Fields:
    """Read `fields.yml`."""
    content = yaml.safe_load(path.read_text("utf-8"))
    fields = [_field(name, told) for group in GROUPS for name, told in content[group].items()]
    return Fields(
        version=content["version"],
        always=tuple(content["always"]),
        by_name={field.name: field for field in fields},
        groups={group: frozenset(content[group]) for group in GROUPS},
    )


def _field(name: str, told: Any) -> Field:
    if isinstance(told, str):
        return Field(name, told)
    return Field(name, **{**told, "one_of": tuple(told.get("one_of", ()))})
