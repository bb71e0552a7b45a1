"""The dialect of `/api/v1`: datasets over REST, explored by duplicates, uniqueness, likeness and text."""
