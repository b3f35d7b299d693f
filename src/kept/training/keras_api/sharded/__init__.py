"""Loading into models whose weights are sharded across processes: each reads its own parts."""
