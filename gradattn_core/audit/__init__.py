"""The audit: plan ─► sweep shards ─► judge ─► interpret the suspects ─► findings ─► merge. No Prefect."""
