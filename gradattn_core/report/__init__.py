"""What an audit found, to hand on: one file to read and print, and the evidence of every suspect as files."""
