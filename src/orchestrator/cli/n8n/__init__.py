"""Reading workflows that n8n exported: what maps becomes a document, what doesn't is listed and stays visible in it.

`expressions` turns the JavaScript of `={{ ... }}` into expressions of ours, as far as it has the same meaning; `nodes`
turns one node's parameters into those of a class; `workflow` puts the graph together. Nothing of an export is run or
fetched.

What isn't mapped is never dropped: a node becomes a placeholder whose class doesn't exist (`n8n.httpRequest`), with all
that it was under `x-n8n`; an expression becomes a call of `n8n(...)` with its text. The check refuses both at their
place, in words.
"""
