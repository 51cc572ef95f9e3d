//! Strings and byte ranges that cross between librdkafka and Rust.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_void};

use super::error::KafkaError;

pub(crate) fn c_string(value: &str) -> Result<CString, KafkaError> {
    CString::new(value).map_err(|_| KafkaError::misused("a name or value for librdkafka", "it contains a NUL byte"))
}

/// A C string as Rust text; empty for null.
///
/// # Safety
/// `raw` must be null or a C string that lives for `'a`.
pub(crate) unsafe fn lossy<'a>(raw: *const c_char) -> Cow<'a, str> {
    if raw.is_null() {
        return "".into();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy()
}

/// A byte range that librdkafka lends; `None` for null.
///
/// # Safety
/// `data` must be null or point to `len` bytes that live for `'a`.
pub(crate) unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// The text that librdkafka wrote into a buffer, up to its NUL byte.
pub(crate) fn text(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|&c| c.to_ne_bytes()[0]).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
