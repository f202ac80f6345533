"""What tests share: peers, destinations, runners. No tests."""
