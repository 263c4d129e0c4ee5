"""What an instance is, and when its study is complete."""
