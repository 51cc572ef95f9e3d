//! How a process with Kafka clients ends.

use std::ffi::c_int;
use std::io::Write;

unsafe extern "C" {
    fn _exit(status: c_int) -> !;
}

/// Ends the process at once with `code`, without exit handlers: librdkafka's threads may still be at work,
/// also in a client whose destructor waits for a name server, and OpenSSL's handler would pull the ground
/// from under them.
pub fn leave(code: u8) -> ! {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    // SAFETY: takes no pointers and does not return.
    unsafe { _exit(c_int::from(code)) }
}
