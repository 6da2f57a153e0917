"""SMTP submission before log-in, in octets: the phone's lines, and the log-in at the mail server."""
