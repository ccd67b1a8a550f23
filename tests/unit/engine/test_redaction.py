"""Secrets are found in the forms in which they get out."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from orchestrator.engine.redaction import Redactor

SECRETS = ["hunter2-and-more", 'p@ss/"wörd"\\ +%&=?', 'it\'s "both"\n\\x', "\x01\x7f\u2028end"]


@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_of_a_secret_is_replaced(secret: str) -> None:
    raw = secret.encode()
    redactor = Redactor({"X": secret})
    forms = [
        secret,
        repr(secret),
        ascii(secret),
        repr([secret]),
        repr(raw),
        repr(f"'\"{secret}"),
        json.dumps(secret),
    ]
    forms += [
        json.dumps(secret, ensure_ascii=False),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
    ]
    forms += [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")]
    for form in forms:
        told = redactor.redact(f"before {form} after")
        assert "[secret X]" in told
        assert secret not in told
        assert len(told) <= len("before '\\\"[secret X]==\"' after") + 4, f"a part is left: {told!r}"


def test_texts_keys_and_numbers_of_a_value_are_replaced() -> None:
    redactor = Redactor({"PIN": "48151623"})
    value = {"48151623": ["48151623", 48151623, {"a": 1}], "b": True}
    assert redactor.redact_value(value) == {
        "[secret PIN]": ["[secret PIN]", "[secret PIN]", {"a": 1}],
        "b": True,
    }
