"""The closed tables of filters, tests and functions.

Every one takes the frame first, pays for what it does, and gives plain data. Where a filter has an `attribute`, it is a
path such as `address.city` or a place in a list.
"""

import json
import math
from collections.abc import Callable
from typing import Any

from orchestrator.model.expressions import runtime
from orchestrator.model.expressions.arguments import (
    DIGITS_MAX,
    attribute_of,
    entries_of,
    keys_of,
    object_of,
    shown,
    text_of,
)
from orchestrator.model.expressions.predicates import TESTS, TESTS_WITH_ARGUMENT
from orchestrator.model.expressions.runtime import (
    Failure,
    Frame,
    Missing,
    checked_number,
    is_integer,
    is_list,
    is_number,
    is_object,
    kind_of,
)
from orchestrator.model.expressions.times import add_time, date, timestamp, to_time

# -- values ----------------------------------------------------------------------------------------------------------


def default(frame: Frame, value: Any, default_value: Any = "", boolean: Any = False) -> Any:
    """The value, or another where it is missing (with `boolean` also where it is empty)."""
    if type(value) is Missing or (boolean and not value):
        return default_value
    return value


def length(frame: Frame, value: Any) -> int:
    """How many entries, keys or characters."""
    if (isinstance(value, str) or is_object(value)) or is_list(value):
        return len(value)
    raise Failure(f"{kind_of(value)} has no length")


def tojson(frame: Frame, value: Any, indent: Any = None) -> str:
    """The value as JSON text."""
    if indent is not None and not (is_integer(indent) and 0 <= indent <= 8):
        raise Failure("`tojson` indents by a whole number from 0 to 8")
    return runtime.to_json(frame, value, indent=indent)


def fromjson(frame: Frame, value: Any) -> Any:
    """What a JSON text says."""
    text = text_of(value, "`fromjson`")
    frame.charge_text(len(text))
    frame.charge(2 * (text.count(",") + text.count("[") + text.count("{")))
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise Failure(f"the text is no JSON: {error}") from None
    _check_parsed(frame, parsed)
    return parsed


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _check_parsed(frame: Frame, value: Any) -> None:
    stack = [value]
    while stack:
        current = stack.pop()
        frame.charge(1)
        if is_number(current):
            checked_number(current)
        elif is_object(current):
            stack.extend(current.values())
        elif is_list(current):
            stack.extend(current)


def string(frame: Frame, value: Any) -> str:
    """The value as it reads within a text."""
    return runtime.to_text(frame, value)


def to_int(frame: Frame, value: Any, default_value: Any = Missing) -> Any:
    """A whole number: of a number towards zero, of a text by its digits."""
    try:
        if isinstance(value, str):
            if len(value) > DIGITS_MAX:
                raise ValueError
            text = value.strip()
            return checked_number(int(text) if text.lstrip("+-").isdecimal() else int(float(text)))
        if isinstance(value, bool) or is_number(value):
            return checked_number(int(value))
    except (ValueError, OverflowError):
        pass  # falls through to the one message below
    if default_value is not Missing:
        return default_value
    raise Failure(f"`int` can't read {shown(value)} as a whole number")


def to_float(frame: Frame, value: Any, default_value: Any = Missing) -> Any:
    """A number with a fraction."""
    try:
        if isinstance(value, str):
            if len(value) > DIGITS_MAX:
                raise ValueError
            return checked_number(float(value))
        if isinstance(value, bool) or is_number(value):
            return float(value)
    except ValueError:
        pass  # falls through to the one message below
    if default_value is not Missing:
        return default_value
    raise Failure(f"`float` can't read {shown(value)} as a number")


def to_bool(frame: Frame, value: Any) -> bool:
    """True for true, for numbers but 0, for `true`, `yes`, `on`, `1`; false for their opposites."""
    if isinstance(value, str):
        word = value.strip().lower() if len(value) < DIGITS_MAX else ""
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0", ""):
            return False
        raise Failure(f"`bool` can't read {shown(value)}")
    return bool(value)


# -- numbers ---------------------------------------------------------------------------------------------------------


def round_to(frame: Frame, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    """To so many digits after the point; `method` is `common`, `ceil` or `floor`. With 0 digits a whole number."""
    if not is_number(value):
        raise Failure(f"`round` works on numbers, and this is {kind_of(value)}")
    if not is_integer(precision) or not -15 <= precision <= 15:
        raise Failure("`round` takes from -15 to 15 digits")
    if method == "common":
        rounded: Any = round(value, precision)
    elif method in ("ceil", "floor"):
        factor = 10.0**precision
        rounded = (math.ceil if method == "ceil" else math.floor)(value * factor) / factor
    else:
        raise Failure("`round` knows the methods `common`, `ceil` and `floor`")
    return checked_number(int(rounded) if precision <= 0 else rounded)


def absolute(frame: Frame, value: Any) -> Any:
    """The number without its sign."""
    if not is_number(value):
        raise Failure(f"`abs` works on numbers, and this is {kind_of(value)}")
    return checked_number(abs(value))


def total(frame: Frame, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    """The sum of a list of numbers."""
    result: Any = start
    for entry in keys_of(frame, entries_of(frame, value, "`sum`"), attribute):
        if not is_number(entry) or not is_number(result):
            raise Failure(f"`sum` adds numbers, and there is {kind_of(entry)}")
        result = checked_number(result + entry)
    return result


def _extreme(frame: Frame, value: Any, attribute: Any, sign: int, what: str) -> Any:
    entries = entries_of(frame, value, what)
    if not entries:
        raise Failure(f"{what} of an empty list")
    keys = keys_of(frame, entries, attribute)
    best = 0
    frame.charge(2 * len(keys))
    for place in range(1, len(keys)):
        if runtime.compare(frame, keys[place], keys[best]) * sign > 0:
            best = place
    return entries[best]


def smallest(frame: Frame, value: Any, attribute: Any = None) -> Any:
    """The least entry of a list."""
    return _extreme(frame, value, attribute, -1, "`min`")


def largest(frame: Frame, value: Any, attribute: Any = None) -> Any:
    """The greatest entry of a list."""
    return _extreme(frame, value, attribute, 1, "`max`")


# -- texts -----------------------------------------------------------------------------------------------------------


def _texts(name: str, change: Callable[[str], str]) -> Callable[..., Any]:
    def apply(frame: Frame, value: Any) -> str:
        text = text_of(value, f"`{name}`")
        frame.charge_text(4 * len(text))
        return change(text)

    return apply


def trim(frame: Frame, value: Any, characters: Any = None) -> str:
    """Without spaces, or the given characters, at both ends."""
    text = text_of(value, "`trim`")
    strip = None if characters is None else text_of(characters, "`trim`")
    frame.charge_text(len(text) * (1 + len(strip or "")))
    return text.strip(strip)


def replace(frame: Frame, value: Any, old: Any, new: Any, count: Any = -1) -> str:
    """Each `old` by `new`, or only the first `count`."""
    text, old, new = text_of(value, "`replace`"), text_of(old, "`replace`"), text_of(new, "`replace`")
    if not is_integer(count) or not old:
        raise Failure("`replace` takes a text that isn't empty, and a whole number as count")
    frame.charge_text(len(text))
    found = text.count(old)
    frame.charge_text(max(0, len(text) + found * (len(new) - len(old))))
    frame.charge(found)
    return text.replace(old, new, count)


def split(frame: Frame, value: Any, separator: Any = None, count: Any = -1) -> list[str]:
    """The parts of a text between separators; without one, its words."""
    text = text_of(value, "`split`")
    if separator is not None and not text_of(separator, "`split`"):
        raise Failure("`split` takes a separator that isn't empty")
    if not is_integer(count):
        raise Failure("`split` takes a whole number as count")
    frame.charge_text(len(text))
    frame.charge(len(text) // 2 if separator is None else text.count(separator))
    return text.split(separator, count)


def join(frame: Frame, value: Any, separator: Any = "", attribute: Any = None) -> str:
    """One text of a list, with a separator between the entries."""
    keys = keys_of(frame, entries_of(frame, value, "`join`"), attribute)
    separator = text_of(separator, "`join`")
    return runtime.join_texts(frame, [runtime.to_text(frame, key) for key in keys], separator=separator)


def truncate(frame: Frame, value: Any, count: Any = 255, end: Any = "…") -> str:
    """At most `count` characters, the last of them `end` if something was cut."""
    text, end = text_of(value, "`truncate`"), text_of(end, "`truncate`")
    if not is_integer(count) or count < len(end):
        raise Failure("`truncate` takes a whole number, not less than the length of its ending")
    return text if len(text) <= count else text[: count - len(end)] + end


# -- lists and objects -----------------------------------------------------------------------------------------------


def first(frame: Frame, value: Any) -> Any:
    """The first entry, or the first character."""
    return _end(value, 0, "`first`")


def last(frame: Frame, value: Any) -> Any:
    """The last entry, or the last character."""
    return _end(value, -1, "`last`")


def _end(value: Any, place: int, what: str) -> Any:
    if not (is_list(value) or isinstance(value, str)):
        raise Failure(f"{what} works on a list or a text, and this is {kind_of(value)}")
    if not value:
        raise Failure(f"{what} of an empty {'text' if isinstance(value, str) else 'list'}")
    return value[place]


def sort(frame: Frame, value: Any, reverse: Any = False, attribute: Any = None) -> list[Any]:
    """A list of numbers, or of texts, in order."""
    entries = entries_of(frame, value, "`sort`")
    keys = keys_of(frame, entries, attribute)
    if not all(map(is_number, keys)):
        for key in keys:
            runtime.compare(frame, keys[0], key)
    comparisons = len(keys) * len(keys).bit_length()
    longest = max((len(key) for key in keys if isinstance(key, str)), default=0)
    frame.charge(comparisons // 4 + comparisons * longest // runtime.CHARACTERS_PER_OPERATION)
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=bool(reverse))
    return [entries[place] for place in order]


def reverse(frame: Frame, value: Any) -> Any:
    """A list or a text from its end to its beginning."""
    if isinstance(value, str):
        frame.charge_text(len(value))
        return value[::-1]
    return list(entries_of(frame, value, "`reverse`"))[::-1]


def unique(frame: Frame, value: Any, attribute: Any = None) -> list[Any]:
    """A list without repeats, in the order of first appearance."""
    entries = entries_of(frame, value, "`unique`")
    frame.charge(3 * len(entries))
    seen: set[Any] = set()
    kept: list[Any] = []
    for entry, key in zip(entries, keys_of(frame, entries, attribute), strict=True):
        mark = _mark(frame, key)
        if mark not in seen:
            seen.add(mark)
            kept.append(entry)
    return kept


def _mark(frame: Frame, value: Any) -> Any:
    if isinstance(value, str) or value is None or isinstance(value, bool):
        frame.charge_text(len(value) if isinstance(value, str) else 1)
        return type(value).__name__, value
    if is_number(value):
        return "number", value
    runtime.weigh(frame, value)
    return "json", json.dumps(value, sort_keys=True)


def map_attribute(frame: Frame, value: Any, attribute: Any, default: Any = Missing) -> list[Any]:
    """Of each entry the value under `attribute`."""
    entries = entries_of(frame, value, "`map`")
    return [attribute_of(frame, entry, attribute, fallback=default) for entry in entries]


def _chosen(wanted: bool) -> Callable[..., Any]:
    def choose(frame: Frame, value: Any, test: Any = None, argument: Any = Missing) -> list[Any]:
        check = _entry_test(test, argument)
        frame.charge(length(frame, value))
        return [e for e in entries_of(frame, value, "`select`") if check(frame, e) is wanted]

    return choose


def _chosen_by(wanted: bool) -> Callable[..., Any]:
    def choose(
        frame: Frame, value: Any, attribute: Any, test: Any = None, argument: Any = Missing
    ) -> list[Any]:
        check = _entry_test(test, argument)
        entries = entries_of(frame, value, "`selectattr`")
        return [
            e for e in entries if check(frame, attribute_of(frame, e, attribute, fallback=None)) is wanted
        ]

    return choose


def _entry_test(test: Any, argument: Any) -> Callable[[Frame, Any], bool]:
    if test is None:
        return lambda frame, entry: bool(entry)
    found = TESTS.get(text_of(test, "the name of a test"))
    if found is None:
        raise Failure(f"there is no test `{test[:100]}`; there are {', '.join(sorted(TESTS))}")
    takes_argument = found in TESTS_WITH_ARGUMENT
    if takes_argument is (argument is Missing):
        raise Failure(f"test `{test}` takes {'an' if takes_argument else 'no'} argument")

    def check(frame: Frame, entry: Any) -> bool:
        frame.charge(1)
        return bool(found(frame, entry, argument) if takes_argument else found(frame, entry))

    return check


def to_list(frame: Frame, value: Any) -> list[Any]:
    """A list as it is; of an object its keys, of a text its characters."""
    if isinstance(value, str):
        frame.charge(len(value))
        return list(value)
    if is_object(value):
        return keys(frame, value)
    return list(entries_of(frame, value, "`list`"))


def keys(frame: Frame, value: Any) -> list[Any]:
    """The keys of an object."""
    return list(object_of(frame, value, "`keys`"))


def values(frame: Frame, value: Any) -> list[Any]:
    """The values of an object."""
    return list(object_of(frame, value, "`values`").values())


def items(frame: Frame, value: Any) -> list[Any]:
    """The pairs `[key, value]` of an object."""
    return [[key, entry] for key, entry in object_of(frame, value, "`items`").items()]


def merge(frame: Frame, value: Any, other: Any) -> dict[str, Any]:
    """Both objects as one; where both have a key, the second one's value."""
    return {**object_of(frame, value, "`merge`"), **object_of(frame, other, "`merge`")}


def flatten(frame: Frame, value: Any) -> list[Any]:
    """A list of lists as one list."""
    return [
        e for part in entries_of(frame, value, "`flatten`") for e in (entries_of(frame, part, "`flatten`"))
    ]


def batch(frame: Frame, value: Any, size: Any) -> list[Any]:
    """A list in pieces of `size` entries."""
    entries = entries_of(frame, value, "`batch`")
    if not is_integer(size) or size < 1:
        raise Failure("`batch` takes a whole number above 0")
    return [list(entries[at : at + size]) for at in range(0, len(entries), size)]


def _minimum(frame: Frame, value: Any, *others: Any) -> Any:
    return smallest(frame, [value, *others] if others else value)


def _maximum(frame: Frame, value: Any, *others: Any) -> Any:
    return largest(frame, [value, *others] if others else value)


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": absolute,
    "add_time": add_time,
    "batch": batch,
    "bool": to_bool,
    "capitalize": _texts("capitalize", str.capitalize),
    "count": length,
    "d": default,
    "date": date,
    "datetime": to_time,
    "default": default,
    "first": first,
    "flatten": flatten,
    "float": to_float,
    "fromjson": fromjson,
    "int": to_int,
    "items": items,
    "join": join,
    "keys": keys,
    "last": last,
    "length": length,
    "list": to_list,
    "lower": _texts("lower", str.lower),
    "map": map_attribute,
    "max": largest,
    "merge": merge,
    "min": smallest,
    "reject": _chosen(False),
    "rejectattr": _chosen_by(False),
    "replace": replace,
    "reverse": reverse,
    "round": round_to,
    "select": _chosen(True),
    "selectattr": _chosen_by(True),
    "sort": sort,
    "split": split,
    "string": string,
    "sum": total,
    "timestamp": timestamp,
    "title": _texts("title", str.title),
    "tojson": tojson,
    "trim": trim,
    "truncate": truncate,
    "unique": unique,
    "upper": _texts("upper", str.upper),
    "values": values,
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": absolute,
    "len": length,
    "max": _maximum,
    "min": _minimum,
    "round": round_to,
}
