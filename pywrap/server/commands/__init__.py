"""What a request asks for: CONNECT, BIND, UDP ASSOCIATE, RESOLVE, a file each."""
