"""Model servers started beside this process, and what they answer."""
