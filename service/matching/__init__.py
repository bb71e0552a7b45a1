"""Image matching: hashes compared over REST, and collections that remember them."""
