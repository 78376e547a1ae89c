"""The paper's claims as data and code, and a verdict on each from the tables of a study."""
