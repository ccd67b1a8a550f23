"""Time travel: what a run did up to any event, and what another run would do from there.

`past` folds a journal into the facts that a fork is judged by; it reads the fields that it knows, of whatever kinds of
event. `cutting` decides where a fork is cut and what it patches, `planning` says what it would reuse, run again, repeat
and cost, without starting it.
"""
