"""What the extension costs, beside its peers and the wire: ``make bench``."""
