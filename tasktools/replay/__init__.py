"""Plans and their runs: replay, discard and restore dead letters, accounted for in a ledger."""
