"""Event loops that are written in C or Rust: what their connections, datagrams and children need of us."""
