"""The PROXY protocol, versions 1 and 2, without I/O: reading the header of a load balancer, making one of our own."""
