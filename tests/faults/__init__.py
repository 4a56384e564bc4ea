"""The fault laboratory: players with a ledger, a nemesis, and a checker who decides (`make faults`)."""
