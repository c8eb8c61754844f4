"""The real databases that the tests use; README.md says what each can do."""
