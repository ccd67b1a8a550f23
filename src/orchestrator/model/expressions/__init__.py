"""Expressions of the document: Jinja2's expression grammar over plain JSON data, and nothing else.

Jinja2 parses (`syntax`), its tree is compiled to closures here (`compiler`) and run against a scope of plain data
(`runtime`, `filters`). None of Jinja2's evaluation is used: there is no way to a Python attribute, a method or a
module, because no closure ever takes one. Calls go to registered functions, filters and tests to closed tables. Each
evaluation has a number of operations that it may use, so that it ends soon whatever it is given.

    compile_value({"to": "{{ input.email }}"}).evaluate({"input": {"email": "a@b.c"}})   # {"to": "a@b.c"}
"""

from orchestrator.model.expressions.compiler import NAMES
from orchestrator.model.expressions.filters import FILTERS, FUNCTIONS
from orchestrator.model.expressions.predicates import TESTS
from orchestrator.model.expressions.references import References
from orchestrator.model.expressions.template import Template, compile_expression, compile_value

__all__ = [
    "FILTERS",
    "FUNCTIONS",
    "NAMES",
    "TESTS",
    "References",
    "Template",
    "compile_expression",
    "compile_value",
]
