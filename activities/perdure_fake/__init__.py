"""A fake model provider: a real server that speaks the real wires, so that flows are tested with no key and no network.

    request -> Connection -> checks -> limits -> Steps.pick -> Answer -> wire -> Plan -> play -> bytes
                                                                  `-> faults ---^

A `Script` says which requests get which reply or fault; what no step is for gets an answer made up in the form that
was asked for, which says that it is simulated. A response is worked out whole, as a `Plan` of bytes and waits, and then
played; so a fault is a plan like any other. `FakeProvider` starts one, here or in its own process; `python -m
perdure_fake` does so from a shell. The tokens it reports are counted as `counting` says. Every response has the header
`x-perdure-simulated: 1`.
"""

from .journal import Billed, Entry
from .provider import FakeProvider
from .script import Call, Delay, Fault, Latency, Match, Rates, Reply, Script, Step, Used, Wire, key_hash

__all__ = [
    "Billed",
    "Call",
    "Delay",
    "Entry",
    "FakeProvider",
    "Fault",
    "Latency",
    "Match",
    "Rates",
    "Reply",
    "Script",
    "Step",
    "Used",
    "Wire",
    "key_hash",
]
