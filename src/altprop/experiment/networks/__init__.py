"""Networks by name: what each is made of, and their weights in files."""
