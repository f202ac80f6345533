"""From a destination to a connected socket, or to one that listens at a proxy (``binding``).

Where traffic goes: ``routes``, ``placeholders``. Through which proxies: ``selection``, ``hops``,
``round_robin``. Which attempts are made: ``policy_choice`` takes ``strict_policy`` or ``retry_policy``. Which
messages are exchanged: ``chain``, ``pipelining``. How the connection is made: ``first_hop``, and
``attempt`` in a thread that may wait, ``background`` for one that must not.
"""
