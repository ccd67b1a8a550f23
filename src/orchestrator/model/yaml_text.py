"""YAML on its way in: a text that means the same as some JSON, or faults with their lines.

What is read is the part of YAML 1.2 that JSON has words for. Plain `true`, `false`, `null` and numbers as JSON writes
them are what they are in JSON; every other plain scalar is a text: `on`, `yes`, `no`, dates, `0x10`, `1_000`, `012`.
Keys are texts as they are written, so that `true: ship` is the label `true`. Tags, merge keys and several documents in
one text are refused; aliases are taken while what they stand for fits the limits.

Only events of the parser are used, in one loop: nothing recurses, and no object is ever made from a tag.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from orchestrator.errors import DefinitionError, Fault
from orchestrator.model.limits import Limits
from orchestrator.model.nearest import shorten
from orchestrator.model.numbers import BadNumber, read_float, read_integer
from orchestrator.model.plain import is_array, is_dict
from orchestrator.model.pointers import split_pointer

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII)
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

VALUES_MAX = 200_000
"""YAML is read some ten times slower than JSON: this many values, keys among them, take a second or two."""

Place = tuple[int, int]
"""Line and column, both from 1."""


class Loaded(NamedTuple):
    """A text's value, the keys that stand twice (by `id` of their map), and where everything stands."""

    value: Any
    duplicates: dict[int, list[str]]
    places: "Places"


class Places:
    """Where in the text the parts of a value stand: keys of maps, items of lists."""

    def __init__(self) -> None:
        self.parts: dict[int, dict[str | int, Place]] = {}
        self.root: Any = None
        self.start: Place = (1, 1)

    def of(self, pointer: str) -> Place:
        """The place of a pointer; of one that leads nowhere, that of the last thing on its way that is there."""
        place = self.start
        current: object = self.root
        for step in split_pointer(pointer):
            known = self.parts.get(id(current), {})
            if is_dict(current) and step in known:
                place, current = known[step], current[step]
            elif is_array(current) and step.isdecimal() and int(step) in known:
                place, current = known[int(step)], current[int(step)]
            else:
                break
        return place

    def locate(self, fault: Fault) -> Fault:
        """The fault with its line and column."""
        line, column = self.of(fault.pointer)
        return Fault(
            pointer=fault.pointer,
            code=fault.code,
            message=fault.message,
            suggestion=fault.suggestion,
            line=line,
            column=column,
        )


class _Level:
    """A map or list that is being read, the anchor that names it, and what it weighs so far."""

    __slots__ = ("anchor", "depth", "doubled", "items", "key", "place", "places", "value", "weight")

    def __init__(self, value: Any, anchor: str | None, place: Place) -> None:
        self.value: Any = value
        self.anchor = anchor
        self.place = place
        self.places: dict[str | int, Place] = {}
        self.key: str | None = None
        self.doubled: list[str] = []
        self.weight = 1
        self.depth = 1  # how deep what it holds goes, itself included


class _Anchored(NamedTuple):
    value: Any
    weight: int
    depth: int


def load_yaml(text: str, *, limits: Limits) -> Loaded:
    """The value of a YAML text. The size of the text was checked before.

    Raises:
        DefinitionError: it isn't YAML, holds what JSON has no word for, nests too deep, or its aliases make it too
            large.
    """
    return _Reader(limits).read(text)


class _Reader:
    """Builds the value of one text from the parser's events."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.levels: list[_Level] = []
        self.anchors: dict[str, _Anchored | None] = {}
        self.duplicates: dict[int, list[str]] = {}
        self.places = Places()
        self.documents = 0
        self.values = 0
        self.weight = 0

    def read(self, text: str) -> Loaded:
        import yaml  # only where a YAML text comes

        take: dict[type, Any] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._map,
            yaml.SequenceStartEvent: self._list,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        try:
            for event in _events(text):
                act = take.get(event.__class__)
                if act is not None:
                    act(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = ", ".join(part for part in (error.context, error.problem) if part)
            _refuse("not_yaml", f"the document is no YAML: {shorten(said)}", _place(mark) if mark else (1, 1))
        except yaml.YAMLError as error:
            _refuse("not_yaml", f"the document is no YAML: {shorten(str(error))}", (1, 1))
        except UnicodeError:
            _refuse("not_utf8", "the document holds a lone surrogate, which is no character", (1, 1))
        return Loaded(self.places.root, self.duplicates, self.places)

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            place = _place(event.start_mark)
            _refuse("not_yaml", "the text holds several YAML documents; a workflow is one", place)

    def _check_tag(self, event: Any, place: Place) -> None:
        if event.tag is not None and event.tag != "!":
            _refuse(
                "yaml_tag",
                f"tags aren't taken, and `{shorten(str(event.tag), length=60)}` is one; leave it out, and quote "
                "what is a text",
                place,
            )

    # --- values -----------------------------------------------------------------------------------------------------

    def _scalar(self, event: Any) -> None:
        place = _place(event.start_mark)
        self._check_tag(event, place)
        written: str = event.value
        plain = not event.style and event.tag is None
        self._weigh(len(written) + 1, place)
        level = self.levels[-1] if self.levels else None
        if level is not None and is_dict(level.value) and level.key is None:
            if written == "<<" and plain:
                _refuse("yaml_merge", "merge keys (`<<`) aren't taken; write out what they stand for", place)
            self._anchor(event.anchor, written, len(written) + 1, 0)
            self._key(level, written, place)
            return
        value: Any = _plain(written) if plain else written
        self._anchor(event.anchor, value, len(written) + 1, 0)
        self._add(value, place, weight=len(written) + 1, depth=0)

    def _key(self, level: _Level, key: str, place: Place) -> None:
        if key in level.value:
            level.doubled.append(key)
        level.key = key
        level.places[key] = place

    def _map(self, event: Any) -> None:
        self._open({}, event)

    def _list(self, event: Any) -> None:
        self._open([], event)

    def _open(self, value: Any, event: Any) -> None:
        place, anchor = _place(event.start_mark), event.anchor
        self._check_tag(event, place)
        parent = self.levels[-1] if self.levels else None
        if parent is not None and is_dict(parent.value) and parent.key is None:
            _refuse("not_json", "a key is a text, and this is a map or a list", place)
        self._weigh(1, place)
        if len(self.levels) >= self.limits.document_depth_max:
            self._too_deep(place)
        if anchor is not None:
            self.anchors[anchor] = None  # not whole yet
        self.levels.append(_Level(value, anchor, place))

    def _close(self, _event: Any) -> None:
        level = self.levels.pop()
        self.places.parts[id(level.value)] = level.places
        if level.doubled:
            self.duplicates[id(level.value)] = level.doubled
        self._anchor(level.anchor, level.value, level.weight, level.depth)
        self._add(level.value, level.place, weight=level.weight, depth=level.depth)

    def _alias(self, event: Any) -> None:
        name, place = event.anchor, _place(event.start_mark)
        level = self.levels[-1] if self.levels else None
        if name not in self.anchors:
            _refuse("not_yaml", f"there is no anchor `&{shorten(name)}` before this alias", place)
        meant = self.anchors[name]
        if meant is None:
            _refuse("yaml_alias", f"the alias `*{shorten(name)}` stands within what it stands for", place)
        self._weigh(meant.weight, place)
        if level is not None and is_dict(level.value) and level.key is None:
            if not isinstance(meant.value, str):
                _refuse("not_json", "a key is a text, and this alias stands for something else", place)
            self._key(level, meant.value, place)
            return
        if len(self.levels) + meant.depth > self.limits.document_depth_max:
            self._too_deep(place)
        self._add(meant.value, place, weight=meant.weight, depth=meant.depth)

    def _anchor(self, name: str | None, value: Any, weight: int, depth: int) -> None:
        if name is not None:
            self.anchors[name] = _Anchored(value, weight, depth)

    def _add(self, value: Any, place: Place, *, weight: int, depth: int) -> None:
        if not self.levels:
            self.places.root, self.places.start = value, place
            return
        level = self.levels[-1]
        level.weight += weight
        level.depth = max(level.depth, depth + 1)
        if is_dict(level.value):
            assert level.key is not None
            level.value[level.key] = value
            level.weight += len(level.key) + 1
            level.key = None
        else:
            level.places[len(level.value)] = place
            level.value.append(value)

    def _weigh(self, weight: int, place: Place) -> None:
        """Count what is written, and what aliases stand for, as if it were written there."""
        self.values += 1
        if self.values > VALUES_MAX:
            _refuse("too_large", f"the document has more than {VALUES_MAX:,} values", place)
        self.weight += weight
        if self.weight > self.limits.document_bytes_max:
            _refuse(
                "too_large",
                f"with its aliases written out the document is larger than {self.limits.document_bytes_max:,} bytes",
                place,
            )

    def _too_deep(self, place: Place) -> NoReturn:
        _refuse("too_deep", f"the document is nested more than {self.limits.document_depth_max} deep", place)


def _events(text: str) -> Iterator[Any]:
    import yaml

    parser: Any = yaml  # its types say little
    # The parser in C where it was built; both give the same events.
    return parser.parse(text, Loader=getattr(parser, "CSafeLoader", parser.SafeLoader))


def _plain(written: str) -> Any:
    if written in _WORDS:
        return _WORDS[written]
    number = _NUMBER.fullmatch(written)
    if number is not None:
        return read_float(written) if number[1] or number[2] else read_integer(written)
    return BadNumber(written, "is no JSON number") if _NO_NUMBER.fullmatch(written) else written


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _refuse(code: str, message: str, place: Place) -> NoReturn:
    raise DefinitionError([Fault(pointer="", code=code, message=message, line=place[0], column=place[1])])
