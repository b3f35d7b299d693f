"""The parts of a chart of metrics: lines and points, marks, axes."""
