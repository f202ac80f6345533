"""The datagrams of UDP associations."""
