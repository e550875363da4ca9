//! The messages that a server sends, as bytes.
#![allow(dead_code)]

/// A column type's object id that every reader knows.
const TEXT_OID: u32 = 25;

/// A message: its tag, its length and `body`.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    frame_of_length(tag, body.len() as i32 + 4, body)
}

/// A message that states any length, whatever its body has.
pub fn frame_of_length(tag: u8, length: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn authentication(code: i32, rest: &[u8]) -> Vec<u8> {
    frame(b'R', &[&code.to_be_bytes(), rest].concat())
}

pub fn authentication_ok() -> Vec<u8> {
    authentication(0, &[])
}

pub fn authentication_cleartext() -> Vec<u8> {
    authentication(3, &[])
}

pub fn authentication_md5(salt: [u8; 4]) -> Vec<u8> {
    authentication(5, &salt)
}

/// A request of any kind, known (7 is GSSAPI, 9 is SSPI) or not.
pub fn authentication_other(code: i32) -> Vec<u8> {
    authentication(code, &[])
}

pub fn authentication_sasl(mechanisms: &[&str]) -> Vec<u8> {
    let mut list: Vec<u8> = mechanisms.iter().flat_map(|name| text(name)).collect();
    list.push(0);
    authentication(10, &list)
}

pub fn authentication_sasl_continue(data: &[u8]) -> Vec<u8> {
    authentication(11, data)
}

pub fn authentication_sasl_final(data: &[u8]) -> Vec<u8> {
    authentication(12, data)
}

pub fn parameter_status(name: &str, value: &str) -> Vec<u8> {
    frame(b'S', &[text(name), text(value)].concat())
}

pub fn backend_key_data(process: i32, key: i32) -> Vec<u8> {
    frame(b'K', &[process.to_be_bytes(), key.to_be_bytes()].concat())
}

/// `status` is `I` when idle, `T` in a transaction and `E` in a failed one.
pub fn ready_for_query(status: u8) -> Vec<u8> {
    frame(b'Z', &[status])
}

pub fn error_response(sqlstate: &str, message: &str) -> Vec<u8> {
    frame(b'E', &fields("FATAL", sqlstate, message))
}

pub fn notice_response(sqlstate: &str, message: &str) -> Vec<u8> {
    frame(b'N', &fields("NOTICE", sqlstate, message))
}

pub fn negotiate_protocol_version(newest_minor: i32, unknown_options: &[&str]) -> Vec<u8> {
    let mut body = newest_minor.to_be_bytes().to_vec();
    body.extend((unknown_options.len() as i32).to_be_bytes());
    body.extend(unknown_options.iter().flat_map(|name| text(name)));
    frame(b'v', &body)
}

/// Columns of type text.
pub fn row_description(columns: &[&str]) -> Vec<u8> {
    let mut body = (columns.len() as i16).to_be_bytes().to_vec();
    for name in columns {
        body.extend(text(name));
        body.extend(0_i32.to_be_bytes()); // of no table
        body.extend(0_i16.to_be_bytes());
        body.extend(TEXT_OID.to_be_bytes());
        body.extend((-1_i16).to_be_bytes()); // of any length
        body.extend((-1_i32).to_be_bytes()); // without modifier
        body.extend(0_i16.to_be_bytes()); // in text format
    }
    frame(b'T', &body)
}

pub fn data_row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = (values.len() as i16).to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(-1, |value| value.len() as i32);
        body.extend(length.to_be_bytes());
        body.extend(value.unwrap_or_default().as_bytes());
    }
    frame(b'D', &body)
}

pub fn command_complete(tag: &str) -> Vec<u8> {
    frame(b'C', &text(tag))
}

/// The whole answer to a simple query that returns rows.
pub fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Vec<u8> {
    let mut bytes = row_description(columns);
    bytes.extend(rows.iter().flat_map(|row| data_row(row)));
    bytes.extend(command_complete(&format!("SELECT {}", rows.len())));
    bytes.extend(ready_for_query(b'I'));
    bytes
}

/// The whole answer to a simple query that returns nothing.
pub fn done(tag: &str) -> Vec<u8> {
    [command_complete(tag), ready_for_query(b'I')].concat()
}

/// What START_REPLICATION is answered with: text format and no columns.
pub fn copy_both_response() -> Vec<u8> {
    frame(b'W', &[0, 0, 0])
}

pub fn copy_data(payload: &[u8]) -> Vec<u8> {
    frame(b'd', payload)
}

pub fn copy_done() -> Vec<u8> {
    frame(b'c', &[])
}

/// A piece of the WAL in a CopyData. The clock is of no interest and stays 0.
pub fn xlog_data(start: u64, end: u64, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![b'w'];
    body.extend(start.to_be_bytes());
    body.extend(end.to_be_bytes());
    body.extend(0_i64.to_be_bytes());
    body.extend(payload);
    copy_data(&body)
}

/// A keepalive in a CopyData, which may ask for an answer.
pub fn keepalive(end: u64, wants_reply: bool) -> Vec<u8> {
    let mut body = vec![b'k'];
    body.extend(end.to_be_bytes());
    body.extend(0_i64.to_be_bytes());
    body.push(u8::from(wants_reply));
    copy_data(&body)
}

fn fields(severity: &str, sqlstate: &str, message: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, value) in [
        (b'S', severity),
        (b'V', severity),
        (b'C', sqlstate),
        (b'M', message),
    ] {
        body.push(tag);
        body.extend(text(value));
    }
    body.push(0);
    body
}

/// A string as the protocol has it: with a zero at its end.
pub fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
