"""What the tests build on: private mail servers, recorded upstreams, raw clients, the gate as a process."""
