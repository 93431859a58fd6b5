//! What many records share, written as JSON once.

use std::ops::Deref;

use serde::Serialize;

/// A value and the members of the JSON object that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered<T> {
    value: T,
    members: Option<Box<[u8]>>,
}

impl<T: Serialize> Rendered<T> {
    /// Writes it.
    pub fn new(value: T) -> Self {
        let json = serde_json::to_vec(&value).ok();
        let members = json.and_then(|json| {
            Some(json.strip_prefix(b"{")?.strip_suffix(b"}")?.to_owned().into_boxed_slice())
        });
        Self { value, members }
    }
}

impl<T> Rendered<T> {
    /// `"a":1,"b":2`; none when the value is no object.
    pub(super) fn members(&self) -> Option<&[u8]> {
        self.members.as_deref()
    }
}

impl<T> Deref for Rendered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
