"""What every stage shares: parameters, seeds, tables, audio, fan-out and the command line."""
