"""pyzdb beside what limits it and beside what could be used instead, measured in one run.

`python -m benchmarks` runs everything, `python -m benchmarks --help` tells the rest. The modules:

    =========  =======================================================================
    measuring  what a benchmark is: contenders, rounds in turn, medians, goals
    processes  servers and clients, each a process of its own, all ended at the end
    scratch    folders for the files, on a file system where a sync means something
    subject    pyzdb: its server and its clients
    limits     what ZeroMQ, the disk and JSON allow, with nothing else
    peers      Redis, Pyro5, RPyC, ZEO and multiprocessing.Manager
    queries    reads and writes, alone, by many clients, in batches
    tree       the large document, for processes that import nothing else
    documents  one large document: stored, read, held, saved
    starting   start, replay of a journal, import
    growth     more nodes, more clients
    report     the table
    plot       the picture
    =========  =======================================================================
"""
