"""Thin transports: one epoll, lean TLS, dialling, listening, and the relay. Knows no mail protocol and no policy."""
