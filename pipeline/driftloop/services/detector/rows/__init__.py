"""What a request or a file says, as rows of typed values."""
