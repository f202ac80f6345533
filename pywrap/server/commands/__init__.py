"""The commands of requests, a file each: CONNECT, BIND, UDP ASSOCIATE, RESOLVE."""
