"""Where runs are kept.

`contract` is the port that the engine sees, `rules` what every back end follows word for word, `memory` the reference
store and oracle, `sqlite` the store of one machine. Back ends don't know one another; what keeps them alike is
`orchestrator.testing.conformance`, which each must pass.
"""
