"""The almanac: facts of the real world that come with the package, as tables and as records in CounterFact's schema."""
