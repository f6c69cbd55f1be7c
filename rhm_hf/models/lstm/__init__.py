"""Long short-term memory: the recurrent network that attention is measured against."""
