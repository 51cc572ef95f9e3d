//! Queueing of one record, with the librdkafka call that takes all its parts.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use rdkafka_sys as sys;
use sys::rd_kafka_vtype_t as Kind;
use wire::frame::{Headers, RecordRef};

use crate::client::{CallError, Client, Topic, check};

type Argument = sys::rd_kafka_vu_t;
type Value = sys::rd_kafka_vu_s__bindgen_ty_1;
type Memory = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1;

/// Queues `record`, and copies its value unless it is `lent`.
///
/// # Safety
/// The bytes of a lent value must stay in place until the record's delivery report has arrived or the instance has
/// ended.
pub(super) unsafe fn enqueue(
    client: &Client,
    topic: &Topic,
    partition: i32,
    record: &RecordRef<'_>,
    lent: bool,
) -> Result<(), CallError> {
    let headers = HeaderList::of(record.headers);
    // To librdkafka 0 means "now".
    let timestamp = if record.timestamp == 0 { 1 } else { record.timestamp };
    let flags = if lent { 0 } else { sys::RD_KAFKA_MSG_F_COPY };
    let argument = |vtype, u| Argument { vtype, u };
    let arguments = [
        argument(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.raw() }),
        argument(Kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: partition }),
        argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: flags }),
        argument(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: timestamp }),
        argument(Kind::RD_KAFKA_VTYPE_KEY, Value { mem: memory(record.key) }),
        argument(Kind::RD_KAFKA_VTYPE_VALUE, Value { mem: memory(record.value) }),
        // A number, not a pointer to follow: the delivery report returns it.
        argument(Kind::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: ptr::without_provenance_mut(record.offset.0 as usize) }),
        argument(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers: headers.raw() }),
    ];
    let count = arguments.len() - usize::from(headers.0.is_none());
    // SAFETY: instance, topic and arguments are live; the key is copied, and the headers are taken over; the value is
    // copied or stays in place, as the caller promises.
    unsafe { check(sys::rd_kafka_produceva(client.raw(), arguments.as_ptr(), count)) }?;
    // On success librdkafka owns the headers.
    headers.forget();
    Ok(())
}

/// Memory of a key or value: null for `None`. An empty slice is not null.
fn memory(data: Option<&[u8]>) -> Memory {
    data.map_or(Memory { ptr: ptr::null_mut(), size: 0 }, |data| Memory {
        ptr: data.as_ptr().cast_mut().cast::<c_void>(),
        size: data.len(),
    })
}

/// librdkafka's header list; none for a record without headers.
struct HeaderList(Option<NonNull<sys::rd_kafka_headers_t>>);

impl HeaderList {
    fn of(headers: Headers<'_>) -> Self {
        let mut list = Self(None);
        for (key, value) in headers.iter() {
            let value = memory(value);
            let raw = list.0.get_or_insert_with(|| {
                // SAFETY: returns a new list, never null; the size is only a hint.
                NonNull::new(unsafe { sys::rd_kafka_headers_new(8) }).expect("librdkafka always makes a list")
            });
            // SAFETY: the list is live; key and value are copied.
            unsafe {
                let key_len = isize::try_from(key.len()).unwrap_or(isize::MAX);
                let value_len = isize::try_from(value.size).unwrap_or(isize::MAX);
                sys::rd_kafka_header_add(raw.as_ptr(), key.as_ptr().cast(), key_len, value.ptr, value_len);
            }
        }
        list
    }

    fn raw(&self) -> *mut sys::rd_kafka_headers_t {
        self.0.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        if let Some(list) = self.0 {
            // SAFETY: we still own it.
            unsafe { sys::rd_kafka_headers_destroy(list.as_ptr()) }
        }
    }
}
