"""The real database engines that the tests run against; README.md says what each can do."""
