# Completion of pysocksify for fish. Made by scripts/documents: changes here are lost.

# Print PROGRAM and what follows, NUL behind each; with --check, nothing.
function __pysocksify_program
    set -l tokens (commandline -opc) (commandline -ct)
    set -e tokens[1]
    argparse -s 'x/proxy=+' 'f/config=+' 'config-format=+' 'chain-type=+' 'isolate-streams=+' 'pipeline=+' 'fast-open=+' 'keep-env' 'timeout=+' 'connect-timeout=+' 'read-timeout=+' 'dns=+' 'placeholders=+' 'confine=+' 'foreign=+' 'children=+' 'publish=+' 'loopback=+' 'direct=+' 'route=+' 'dnat=+' 'udp=+' 'listen=+' 'bind-peer=+' 'init' 'show-config' 'env=?' 'check' 'check-target=+' 'report=+' 'o/output=+' 'watch' 'json' 'q/quiet' 'v/verbose' 'log=+' 'h/help' 'version' -- $tokens 2>/dev/null
    or return 1
    set -q _flag_check
    and return 1
    set -q argv[1]
    and not string match -q -- '-*' $argv[1]
    and string join0 -- $argv
end

function __pysocksify_in_options
    not __pysocksify_program >/dev/null
end

function __pysocksify_checks
    contains -- --check (commandline -opc)
end

function __pysocksify_complete_program
    set -l words (__pysocksify_program | string split0)
    set -q words[1]
    and __fish_complete_subcommand --commandline $words
end

complete -c pysocksify -x -n 'not __pysocksify_checks' -a '(__pysocksify_complete_program)'
complete -c pysocksify -x -n __pysocksify_checks -a 'embedded env socks4:// socks4a:// socks5:// socks5h:// http:// raw://'
complete -c pysocksify -n __pysocksify_in_options -s x -l proxy -x -a 'embedded env socks4:// socks4a:// socks5:// socks5h:// http:// raw://' -d 'send traffic through URL; repeat for a chain; env: through $ALL_PROXY'
complete -c pysocksify -n __pysocksify_in_options -s f -l config -rF -d 'read FILE and no other configuration file'
complete -c pysocksify -n __pysocksify_in_options -l config-format -x -a 'proxychains tsocks torsocks' -d 'the format of that file: proxychains, tsocks, torsocks'
complete -c pysocksify -n __pysocksify_in_options -l chain-type -x -a 'strict dynamic random round_robin' -d 'how a chain is built'
complete -c pysocksify -n __pysocksify_in_options -l isolate-streams -x -a 'on off' -d 'a username of its own for each process'
complete -c pysocksify -n __pysocksify_in_options -l pipeline -x -a 'off on auto' -d 'send all requests at once: off, on, auto'
complete -c pysocksify -n __pysocksify_in_options -l fast-open -x -a 'on off' -d 'send the first request in the TCP handshake'
complete -c pysocksify -n __pysocksify_in_options -l keep-env -a 'on off' -d 'let the program see $ALL_PROXY, $http_proxy and such'
complete -c pysocksify -n __pysocksify_in_options -l timeout -x -d 'the time for a connection through the whole chain'
complete -c pysocksify -n __pysocksify_in_options -l connect-timeout -x -d 'the time to reach the first proxy'
complete -c pysocksify -n __pysocksify_in_options -l read-timeout -x -d 'the time for each answer of a proxy'
complete -c pysocksify -n __pysocksify_in_options -l dns -x -a 'remote tor local tcp://' -d 'where names are resolved: remote, tor, local, tcp://HOST[:PORT]'
complete -c pysocksify -n __pysocksify_in_options -l placeholders -x -d 'the addresses that programs get for unresolved names'
complete -c pysocksify -n __pysocksify_in_options -l confine -x -a 'auto on off' -d 'a network whose only way out is through the proxies'
complete -c pysocksify -n __pysocksify_in_options -l foreign -x -a 'warn refuse quiet' -d 'libraries whose own sockets cannot be covered: warn, refuse, quiet'
complete -c pysocksify -n __pysocksify_in_options -l children -x -a 'auto confine warn refuse direct' -d 'what a Python starts that is not Python: confine, warn, refuse, direct'
complete -c pysocksify -n __pysocksify_in_options -l publish -x -d 'carry connections to PORT of this machine to a server in that network'
complete -c pysocksify -n __pysocksify_in_options -l loopback -x -a 'direct proxy deny' -d 'connections to this machine: direct, proxy, deny'
complete -c pysocksify -n __pysocksify_in_options -l direct -x -d 'networks, addresses and names that need no proxy'
complete -c pysocksify -n __pysocksify_in_options -l route -x -d 'where connections to NET go, for some destinations'
complete -c pysocksify -n __pysocksify_in_options -l dnat -x -d 'connect to the second address instead of the first'
complete -c pysocksify -n __pysocksify_in_options -l udp -x -a 'associate block direct' -d 'datagrams: associate (through the proxies), block, direct'
complete -c pysocksify -n __pysocksify_in_options -l listen -x -a 'local bind block' -d 'listening sockets: local, bind (on the last proxy), block'
complete -c pysocksify -n __pysocksify_in_options -l bind-peer -x -a 'latest any' -d 'the peer that such a socket accepts: latest, any'
complete -c pysocksify -n __pysocksify_in_options -l init -d 'look for proxies, test them, and write a configuration file'
complete -c pysocksify -n __pysocksify_in_options -l show-config -d 'print the settings, and where each comes from'
complete -c pysocksify -n __pysocksify_in_options -l env -a 'off' -d 'print what wraps a shell'
complete -c pysocksify -n __pysocksify_in_options -l check -d 'test the proxies, and say what they can do'
complete -c pysocksify -n __pysocksify_in_options -l check-target -x -d 'ask the proxies for a connection to HOST:PORT'
complete -c pysocksify -n __pysocksify_in_options -l report -rF -d 'make a page of FILE, which --log has written'
complete -c pysocksify -n __pysocksify_in_options -s o -l output -rF -d 'with --report and --init: the file to write'
complete -c pysocksify -n __pysocksify_in_options -l watch -d 'show the processes of a run, and where each of their connections goes'
complete -c pysocksify -n __pysocksify_in_options -l json -d 'with --check and --watch: for scripts'
complete -c pysocksify -n __pysocksify_in_options -s q -l quiet -d 'errors only'
complete -c pysocksify -n __pysocksify_in_options -s v -l verbose -d 'a line for each connection; -vv: more'
complete -c pysocksify -n __pysocksify_in_options -l log -rF -d 'write each connection, name and refusal to FILE, as JSON'
complete -c pysocksify -n __pysocksify_in_options -s h -l help -d 'this summary, or everything'
complete -c pysocksify -n __pysocksify_in_options -l version -d 'the version'
