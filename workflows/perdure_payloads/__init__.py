"""Payloads on their way to the server and back: compression, encryption, large values by reference."""
