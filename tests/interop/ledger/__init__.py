"""A ledger file read from schemas/ and docs/ alone. Shares no code with chartmesh."""
