"""What `handfast doctor` looks at: each module one part of the way, each step with what it saw, why, and what to do."""
