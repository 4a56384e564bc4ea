"""What people see: the live board, the documentation, and the files both are made of."""
