"""One database without sockets: what a message does to the tree, its history and its journal."""
