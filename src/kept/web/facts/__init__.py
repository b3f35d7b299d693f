"""What pages show, as values made from a store: numbers and rows, no layout."""
