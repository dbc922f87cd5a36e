"""The run store: runs, node executions, events and waits in SQL, for readers that need no worker."""
