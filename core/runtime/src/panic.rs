//! What is left of a panic.

use std::any::Any;

/// What a panic said, from what [`std::thread::JoinHandle::join`] or [`std::panic::catch_unwind`] gives of it.
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic that says nothing").to_owned()
}
