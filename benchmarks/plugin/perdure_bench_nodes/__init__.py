"""The node type `bench-noop`, as a distribution of its own: it knows Perdure by its public entry points only.

node.py      what the node is: its data, its outputs, its pure functions  (entry point `perdure.nodes`)
effects.py   what it asks for and what comes back
activity.py  who does that                                               (entry point `perdure.activities`)
"""
