"""What we say of a study to others: structured report, key object selection, labels and metadata."""
