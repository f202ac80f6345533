"""``--log``: what a program did on the network, one JSON object a line, of all processes of a run.

``encoder`` writes JSON, ``writer`` appends lines, ``handshake_times`` takes the times of a tunnel's hops,
``asker`` finds out which code asked, and ``events`` has one method for each kind of line. ``schema.json``
describes the lines; docs/log.md explains them.

Most of it runs in the target process, so it imports little: no ``json``, no ``logging``. Nothing of it is
imported unless there is a log.
"""
