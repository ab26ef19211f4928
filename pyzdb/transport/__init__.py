"""ZeroMQ: addresses and sockets, as a server and its clients both use them."""
