"""Any program in a network of its own, out of which only the proxies lead; the kernel enforces it.

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

The namespace has one interface, ``lo``, and every address of the world is local to it: there is no way out
for a packet, whatever the rules say. What comes out are the bytes that the broker reads from sockets which
were made inside and handed to it. Where to find what:

* ``launcher``: the two processes; ``supervisor``: signals, job control, exit status; ``left_behind``:
  daemons; ``last_bytes``: what was sent right before the end
* ``namespaces``, ``mounts``: what the program's process enters; ``netlink`` and ``ruleset``: what is set up
  there; ``inside_sockets``: what is handed out; ``kernel``: the system calls that Python does not have
* ``broker``: everything outside; ``syn_gate`` and ``packets``: the SYNs; ``attempts``: connections that are
  being opened, and ``twins``: one for both families; ``outside``: the rules and the chains;
  ``udp_flows``: UDP; ``name_server``, ``name_stream`` and ``dns_message``: names
* ``shared_confinement``: the broker for what a patched program starts; ``notes``: how its processes find it
* ``listeners``: does a program inside listen on loopback?
* ``remedies``: why it is not possible here, and what to do

Nothing here is imported by a run that is not confined.
"""
