"""The IMAP enforcement point: what a phone is told before log-in, and in which words it is refused."""
