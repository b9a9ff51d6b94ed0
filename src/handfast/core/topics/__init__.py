"""Topic Names and Topic Filters: what is legal, what is reserved, who subscribed."""
