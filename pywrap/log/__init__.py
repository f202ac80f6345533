"""``--log``: the network actions of all processes of a run, one JSON object on each line.

``encoder`` writes JSON, ``writer`` appends lines, ``handshake_times`` takes the times of a tunnel's hops,
``asker`` finds out which code asked for a connection, and ``events`` has one method for each kind of line.
``schema.json`` describes the lines; docs/log.md explains them.

Most of this package runs in the target process, so it imports little: no ``json``, no ``logging``. It is
imported only when there is a log.
"""
