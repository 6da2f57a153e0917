"""The benchmark: Gatekeeper side by side with nginx's mail proxy and Dovecot's log-in proxy, in one run."""
