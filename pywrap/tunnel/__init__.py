"""From a destination to a connected socket: where traffic goes (``routes``, ``names``), and how (``chain``,
``dial``, ``drive`` for a thread that waits, ``background`` for one that must not); or to one that listens at
a proxy (``binding``)."""
