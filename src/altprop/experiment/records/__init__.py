"""What experiments write down: folders, what was measured, and on which machine."""
