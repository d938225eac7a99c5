"""Recipe (what may change bits), Launch (what must not), and the shipped recipes (.toml)."""
