"""What a market is made of: bars, their schemas and quality, symbols, ticks, time frames, tape events."""
