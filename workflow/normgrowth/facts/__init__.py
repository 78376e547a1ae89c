"""Fact records and the orders in which they are edited."""
