"""Files that are written whole, journals that lose nothing, and fingerprints that tell results apart."""
