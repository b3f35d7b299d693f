"""Buckets in object storage: S3, GCS and Azure, with obstore."""
