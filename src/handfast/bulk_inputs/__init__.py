"""The inputs of bulk registration tasks: directories of this machine, and buckets that speak S3."""
