"""The processes that follow the first one of their group."""
