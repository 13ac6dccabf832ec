"""What executes, tidies and fills the pages of the book, and what it fetches for them."""
