//! The usual hosts of an nmap scan, in compiled code: the same dicts as forwarder/nmap/host.py and port.py give, and the
//! same records as forwarder/ecs/hosts.py makes of them, as JSON. Whatever is not usual - an element or attribute that is
//! not in the tables, a value of the wrong type, XML that is not well-formed, a port twice - is `Odd` and left to them,
//! which know what to do with it; so there is nothing here that decides how odd input is read. Likewise where hosts begin and
//! end, which forwarder/nmap/framing.py finds.
//!
//! No crates, and no unsafe code but where it is called from outside.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]

mod base64;
mod host;
mod hostkey;
mod hosts;
mod json;
mod md5;
mod port;
mod ports;
mod ranges;
mod record;
mod scan;
mod script;
mod sha256;
mod subject;
mod values;
mod xml;

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};

thread_local! {
    /// What was written last.
    static LAST: RefCell<json::Out> = RefCell::default();
}

/// Read one `host` element.
///
/// Returns the length of JSON of `{"head": …, "ports": […]}`, and puts into `json` where it is, until the next call; or
/// returns 0 for what is odd.
///
/// # Safety
/// `data` must be readable for its length, `json` writable.
#[allow(unsafe_code)]
#[no_mangle]
pub unsafe extern "C" fn read_host(data: *const u8, length: usize, json: *mut *const u8) -> usize {
    let data = unsafe { std::slice::from_raw_parts(data, length) };
    unsafe { give(|out| host::read(data, out), json) }
}

/// Read one `port` element, as `read_host` does; to JSON of the port.
///
/// # Safety
/// As above.
#[allow(unsafe_code)]
#[no_mangle]
pub unsafe extern "C" fn read_port(data: *const u8, length: usize, json: *mut *const u8) -> usize {
    let data = unsafe { std::slice::from_raw_parts(data, length) };
    unsafe { give(|out| port::read(data, out), json) }
}

/// Make the records of one `host` element, as `read_host` does; to lines of JSON, as record.rs says.
///
/// # Safety
/// As above; `scan` and `target` must be readable for their lengths.
#[allow(unsafe_code)]
#[no_mangle]
pub unsafe extern "C" fn make_records(
    data: *const u8,
    length: usize,
    json: *mut *const u8,
    scan: *const u8,
    scan_length: usize,
    ordinal: usize,
    target: *const u8,
    target_length: usize,
) -> usize {
    let data = unsafe { std::slice::from_raw_parts(data, length) };
    let scan = unsafe { std::slice::from_raw_parts(scan, scan_length) };
    let target = unsafe { std::slice::from_raw_parts(target, target_length) };
    unsafe { give(|out| record::records(data, scan, ordinal, target, out), json) }
}

/// Find plain hosts from `start` on, as hosts.rs says.
///
/// # Safety
/// As above.
#[allow(unsafe_code)]
#[no_mangle]
pub unsafe extern "C" fn find_hosts(
    data: *const u8,
    length: usize,
    places: *mut *const u8,
    start: usize,
    longest: usize,
) -> usize {
    let data = unsafe { std::slice::from_raw_parts(data, length) };
    let find = |out: &mut json::Out| {
        hosts::find(data, start, longest, out);
        Ok(())
    };
    unsafe { give(find, places) }
}

#[allow(unsafe_code)]
unsafe fn give(write: impl FnOnce(&mut json::Out) -> xml::Result<()>, json: *mut *const u8) -> usize {
    LAST.with(|last| {
        let out = &mut *last.borrow_mut();
        out.clear();
        match catch_unwind(AssertUnwindSafe(|| write(out))) {
            Ok(Ok(())) => {
                unsafe { *json = out.as_ptr() };
                out.len()
            }
            _ => 0,
        }
    })
}
