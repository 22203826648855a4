"""What is known of an account, what speaks against comfort, and the only sentences that comfort, each from a proof."""
