"""The models of a run of MLflow: read from its files, or through its client."""
