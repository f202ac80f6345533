"""Confinement: a program in a network of its own, with the proxies as the only way out, by the kernel.

::

      the program's namespaces                                   outside
    +---------------------------------------------+      +-------------------------+
    | program                                     |      | broker (the launcher)   |
    |   connect() -> SYN -> lo ----- packet socket ------> opens the chain --------------> proxy
    |                         SYN, again, marked <--------  when the proxy has answered
    |   established <- transparent listener ------ accept -> relay -------------------->  the same
    |   sendto()  -> lo -> transparent UDP socket --------> UDP association ------------>  the same
    |   port 53 of any address ---------------------------> placeholders, or what --dns says
    +---------------------------------------------+      +-------------------------+

The namespace has one interface, ``lo``, and every address of the world is local to it: no packet can leave,
whatever the rules say. The only bytes that leave are those that the broker reads from sockets that were made
inside and handed to it. The modules:

* ``launcher``: the two processes; ``supervisor``: signals, job control, exit status; ``left_behind``:
  daemons; ``last_bytes``: bytes that were sent right before the end
* ``namespaces``, ``mounts``: the namespaces that the program's process enters; ``netlink`` and ``ruleset``:
  how they are set up; ``inside_sockets``: the sockets for the broker; ``kernel``: system calls that Python
  lacks
* ``broker``: the process outside; ``syn_gate`` and ``packets``: the SYNs; ``attempts``: connections that are
  being opened, and ``happy_eyeballs``: one for both address families; ``outside``: the rules and the chains;
  ``udp_flows``, ``udp_channel`` and ``relay_socket``: UDP; ``name_server``, ``name_stream`` and
  ``dns_message``: names; ``kerberos_tickets``: Kerberos
* ``publish``: servers inside that are reached from outside; ``listeners``: finds servers inside
* ``shared_confinement``: the broker for children of patched programs; ``notes``: how its processes find it
* ``askers`` and ``broker_recorder``: for the log
* ``check``, ``remedies``: whether this machine allows a confinement, the cause if not, and what can be done

A run that is not confined imports nothing of this package.
"""
