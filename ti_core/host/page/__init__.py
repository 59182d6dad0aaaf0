"""What the user sees and does while it trains."""
