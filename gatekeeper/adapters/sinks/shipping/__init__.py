"""Audit records and signed heads on their way off the machine. The local log is the queue: nothing else is kept."""
