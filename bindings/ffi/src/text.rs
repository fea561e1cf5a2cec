//! Text of others, in messages and logs of one line.

/// One line of `text`, of `most` letters at most.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(most).collect()
}
