"""What the product knows: decoding, hashing, storing, joining, clustering, scoring."""
