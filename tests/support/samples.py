"""Configuration files with all there is in them."""

# Of tsocks, with blanks where it takes them.
TSOCKS = """\
# All directives, with blanks where tsocks takes them.
local=10.0.0.0/255.0.0.0
\tlocal = 192.168.0.0/255.255.0.0   # here
path {
  reaches = 150.0.0.0/255.255.0.0
  reaches = 150.1.0.0:80/255.255.0.0
  server = First.example
}
path{
reaches = 150.0.0.0:80-1024/255.0.0.0
server = 10.1.7.25
server_port = 99
server_type = 5
default_user = delius
default_pass = hello#world
}
fallback = yes
server = 10.0.0.1
server_type = 4
server_port = 1081
"""
