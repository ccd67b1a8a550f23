"""Ids of runs. Random ones sort by the time of their making; those of an idempotency key always come out the same."""

import hashlib
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: no i, l, o, u to be misread
_TIME_CHARACTERS = 9
_CHARACTERS = 20
PREFIX = "run_"


def new_run_id(now_us: int) -> str:
    """A fresh id: 45 bits of milliseconds, 55 random bits."""
    moment = (now_us // 1_000) % (1 << (5 * _TIME_CHARACTERS))
    tail = _CHARACTERS - _TIME_CHARACTERS
    return PREFIX + _base32(moment, _TIME_CHARACTERS) + _base32(secrets.randbits(5 * tail), tail)


def run_id_of_key(namespace: str, workflow: str, key: str, *, generation: int) -> str:
    """The id of the run that an idempotency key starts. A key that has expired goes on with its next generation."""
    parts = "\0".join((namespace, workflow, str(generation), key))
    digest = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).digest()
    return PREFIX + _base32(int.from_bytes(digest) >> (256 - 5 * _CHARACTERS), _CHARACTERS)


def successor_id(run_id: str) -> str:
    """The id of the run that goes on for this one: the same however often it is asked for."""
    return PREFIX + hashlib.sha256(f"{run_id}\0continue".encode()).hexdigest()[:24]


def _base32(number: int, characters: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (characters - 1), -1, -5))
