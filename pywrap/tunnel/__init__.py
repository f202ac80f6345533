"""From a destination to a connected socket: where traffic goes (``routes``, ``names``), through whom
(``selection``, ``hops``, ``turns``), what is tried (``plan``, ``probe``) and what is said (``chain``,
``flight``), and how (``dial``, ``opening`` for a thread that waits, ``background`` for one that must not);
or to one that listens at a proxy (``binding``)."""
