"""What an agent's rounds need of the outside: `open_agent`, `ask_round`, and the thread in the run store."""
