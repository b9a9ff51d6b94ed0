"""Topic Names, Topic Filters and the subscription trie."""
