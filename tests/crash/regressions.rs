//! What the suite found once, each with its story.
