# Completion of pysocksd for fish. Made by scripts/documents: changes here are lost.

complete -c pysocksd -f
complete -c pysocksd -s l -l listen -x -d 'accept clients there; repeat for more; port 0 picks a free one'
complete -c pysocksd -s u -l users -rF -d 'ask for a password; a line of FILE is `name:password`'
complete -c pysocksd -l udp-peers -x -a 'contacted any' -d 'from whom clients get datagrams'
complete -c pysocksd -l udp-address -x -d 'what clients are told to send datagrams to, behind a NAT'
complete -c pysocksd -l no-udp -d 'refuse UDP ASSOCIATE'
complete -c pysocksd -l bind-address -x -d 'what clients that BIND are told, behind a NAT'
complete -c pysocksd -l fast-open -d 'take a request in the first packet of a connection (TCP Fast Open)'
complete -c pysocksd -s q -l quiet -d 'no line for each request'
complete -c pysocksd -s v -l verbose -d 'a line for each end too, with the bytes and what was dropped of datagrams'
complete -c pysocksd -l version -d 'print the version'
complete -c pysocksd -s h -l help -d 'print this'
