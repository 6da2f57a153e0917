"""POP3 before log-in (RFC 1939, RFC 2449), as the server a phone talks to and as the client that logs in upstream."""
