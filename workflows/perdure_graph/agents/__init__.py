"""An agent's rules: what its model wrote, how long it may go on, what it remembers. Plain data and pure functions.

parser.py    a model's ReAct text -> units (units.py), whole or while it is written
limits.py    rounds, failures, repetition, going in circles
memory.py    which messages still fit
ids.py       names of calls and rounds that are the same on every replay
"""

# First, whichever of our modules is imported: graphs list their node types, and agents are one.
from .. import graph as graph
