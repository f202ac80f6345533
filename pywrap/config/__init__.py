"""Settings: what they are (``settings``), and the ways in which a user gives them."""
