"""Privacy budgets, and the ledger of what has left."""
