//! The end of a process that has Kafka clients.

use std::ffi::c_int;
use std::io::Write;

unsafe extern "C" {
    fn _exit(status: c_int) -> !;
}

/// Ends the process immediately with `code`, without exit handlers. librdkafka's threads may still run, for example in
/// a client whose destructor waits for a name server; OpenSSL's exit handler would free memory that they use.
pub fn leave(code: u8) -> ! {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    // SAFETY: it takes no pointers and does not return.
    unsafe { _exit(c_int::from(code)) }
}
