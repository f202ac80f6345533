"""From a destination to a connected socket: where traffic goes (``routes``, ``placeholders``), through whom
(``selection``, ``hops``, ``round_robin``), what is tried (``policy_choice``: ``strict_policy``,
``retry_policy``) and what is said (``chain``, ``pipelining``), and how (``first_hop``, ``attempt`` for a
thread that waits, ``background`` for one that must not); or to one that listens at a proxy (``binding``)."""
