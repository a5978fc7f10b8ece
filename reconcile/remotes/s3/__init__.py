"""A bucket of an S3 server, or a prefix in one, as DEST. Imports boto3 once one is opened."""
