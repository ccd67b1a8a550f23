"""The kernel: every rule of how a run flows, and nothing else.

Pure: no I/O, no clock, no randomness, no asyncio, no logging. A command goes in, events come out, and the state is
their fold:

    handle(state, command, now_us=..., definition=...) -> events      the rules (flow, tasks, runs, routes, ending)
    apply(state, event)                                               no choices, only what the event recorded
    work_of(events, state, definition) -> Work                        what the queue needs because of it (outlook)

What comes from outside (time, ids, results, evaluated expressions, random draws) comes in with commands.
"""
