//! A message from librdkafka: read in place, and destroyed when it is dropped.

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;
use wire::frame::{HeaderBlock, RecordRef};
use wire::ids::Offset;

use super::event::Fault;
use crate::error::known;
use crate::text::{bytes, lossy};

/// A message that we own, and with it the memory of its whole fetch, so do not hold it for long. Its lane must drop it
/// before the instance.
#[derive(Debug)]
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message is read and destroyed by one owner at a time, and any thread may do so.
unsafe impl Send for Message {}

/// Partition of a message: the address of its topic handle, and the partition's number.
pub(super) type Origin = (usize, i32);

#[derive(Debug)]
pub(super) enum Verdict {
    Record,
    /// The end of the partition; the message's offset is the end.
    End,
    Fault(Fault),
    /// An error that the client retries by itself.
    Temporary,
}

impl Message {
    /// Takes ownership of a message; `None` for null.
    ///
    /// # Safety
    /// `raw` must be a message that librdkafka handed over, with no other owner.
    pub(super) unsafe fn adopt(raw: *mut sys::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    fn raw(&self) -> *mut sys::rd_kafka_message_t {
        self.0.as_ptr()
    }

    pub(super) fn origin(&self) -> Origin {
        // SAFETY: the message is live; fields are read without forming a reference to it.
        unsafe { ((*self.raw()).rkt.addr(), (*self.raw()).partition) }
    }

    pub(super) fn offset(&self) -> i64 {
        // SAFETY: the message is live.
        unsafe { (*self.raw()).offset }
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is live.
        unsafe { sys::rd_kafka_message_leader_epoch(self.raw()) }
    }

    /// The error code as a number: a newer broker's may have no name in the bindings' enum.
    fn code(&self) -> i32 {
        // SAFETY: the message is live, and the field is an i32 to C.
        unsafe { ptr::addr_of!((*self.raw()).err).cast::<i32>().read() }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let code = self.code();
        if code == 0 {
            return Verdict::Record;
        }
        let Some(code) = known(code) else {
            return Verdict::Fault(Fault::Other(format!("error code {code}: {}", self.reason())));
        };
        match code {
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Verdict::End,
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                Verdict::Fault(Fault::OutOfRange { wanted: self.offset(), detail: self.reason() })
            }
            Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION => Verdict::Fault(Fault::Truncated(self.reason())),
            Code::RD_KAFKA_RESP_ERR__BAD_MSG
            | Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION
            | Code::RD_KAFKA_RESP_ERR_INVALID_MSG => Verdict::Fault(Fault::Corrupt(self.reason())),
            Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => Verdict::Fault(Fault::Gone(self.reason())),
            Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Verdict::Fault(Fault::Unauthorized(self.reason())),
            Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR__RESOLVE
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__WAIT_COORD
            | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
            | Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => Verdict::Temporary,
            _ => Verdict::Fault(Fault::Other(self.reason())),
        }
    }

    pub(super) fn reason(&self) -> String {
        // SAFETY: the message is live and carries an error. Its text is then its payload, a C string that it owns, or else
        // static; it is copied.
        unsafe { lossy(sys::rd_kafka_message_errstr(self.raw())).into_owned() }
    }

    /// Copies the headers into `block`. Keys are bytes: producers need not write UTF-8.
    pub(super) fn headers(&self, block: &mut HeaderBlock) -> Result<(), Fault> {
        block.clear();
        let mut headers = ptr::null_mut();
        // SAFETY: the message is live and keeps the headers.
        match unsafe { sys::rd_kafka_message_headers(self.raw(), &raw mut headers) } {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__NOENT => return Ok(()),
            _ => {
                return Err(Fault::Corrupt(format!("headers of the record at offset {}", self.offset())));
            }
        }
        for index in 0.. {
            let mut key = ptr::null::<c_char>();
            let mut value = ptr::null::<c_void>();
            let mut len = 0;
            // SAFETY: the message owns `headers` and all that they point to, which is copied; librdkafka ends each key with
            // a NUL byte.
            unsafe {
                let found = sys::rd_kafka_header_get_all(headers, index, &raw mut key, &raw mut value, &raw mut len);
                if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    break;
                }
                block.push(std::ffi::CStr::from_ptr(key).to_bytes(), bytes(value, len));
            }
        }
        Ok(())
    }

    /// Returns the record, with the headers that [`Message::headers`] left in `block`.
    pub(super) fn record<'a>(&'a self, block: &'a HeaderBlock) -> RecordRef<'a> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live as long as `self` is borrowed, and so are its bytes; a null pointer is a null key
        // or value.
        unsafe {
            let raw = self.raw();
            let timestamp = sys::rd_kafka_message_timestamp(raw, &raw mut kind);
            RecordRef {
                offset: Offset((*raw).offset),
                timestamp,
                key: bytes((*raw).key, (*raw).key_len),
                value: bytes((*raw).payload, (*raw).len),
                headers: block.as_headers(),
            }
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: we own it, and destroy it once.
        unsafe { sys::rd_kafka_message_destroy(self.raw()) }
    }
}
