"""What people write: the document, its expressions, the graph and its analysis, the checks, the schema.

Everything here is pure: text or plain JSON goes in, values come out; no I/O, no clock, no asyncio. The way through
is always the same:

    text --read_document--> dict --check--> Report(faults, hints, document, definition)

`document` holds the words as written, `definition` the same compiled once per version for the kernel and the worker,
`graph` knows nothing of either. Modules are imported by name; the package itself imports none of them, so that a
process pays only for what it uses.
"""
