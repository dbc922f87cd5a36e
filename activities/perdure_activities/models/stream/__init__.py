"""What all wires share: bounded connections, how replies and errors are read, and how deltas become an answer."""
