"""Inputs mutated at random: each is read rightly or refused in one line, without a traceback or a prompt."""
