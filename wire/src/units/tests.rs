//! What operators may write, what they may not, and that nothing is lost between the two.
