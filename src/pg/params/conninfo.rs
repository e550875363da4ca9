//! The two forms of a connection string, taken apart
//! ([connection strings](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING)).
//!
//! Errors here show nothing of the string: where it is broken, any part may be the password.

use crate::base::error::{Error, Result};

/// A parameter's name and value.
pub type Pair = (String, String);

const FORM: &str = "the form is postgres://user:password@hostname:port/database_name; \
    percent-encode special characters of the password, @ as %40";

/// Parses a connection string into its parameters, in their order.
pub fn parse(text: &str) -> Result<Vec<Pair>> {
    match ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
    {
        Some(rest) => uri(rest),
        None => key_value(text),
    }
}

fn broken(what: &str) -> Error {
    Error::config(format!("the database URL cannot be read: {what}")).with_hint(FORM)
}

/// Parses `name = value name = 'quoted value'`, with `\` before a quote or another backslash.
fn key_value(text: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace());
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.trim_ascii_start().strip_prefix('=');
        let after = after.ok_or_else(|| broken("a parameter has no \"=\""))?;
        let (value, after) = match after.trim_ascii_start() {
            quoted if quoted.starts_with('\'') => self::quoted(&quoted[1..])?,
            plain => unquoted(plain),
        };
        pairs.push((name.to_owned(), value));
        rest = after.trim_ascii_start();
    }
    Ok(pairs)
}

fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c if c.is_ascii_whitespace() => return (value, &text[at..]),
            c => value.push(c),
        }
    }
    (value, "")
}

fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' => return Ok((value, &text[at + 1..])),
            c => value.push(c),
        }
    }
    Err(broken("a quote is not closed"))
}

/// Parses `[user[:password]@][host[:port],...][/dbname][?name=value&...]`
fn uri(rest: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut store = |name: &str, value: &str| -> Result<()> {
        let value = decode(value)?;
        if !value.is_empty() {
            pairs.push((name.to_owned(), value));
        }
        Ok(())
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..authority_end].find('@') {
        Some(at) => {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            store("user", user)?;
            store("password", password)?;
            &rest[at + 1..]
        }
        None => rest,
    };
    // libpq takes it; but it is the end of a password that was not encoded, and would be shown as a
    // part of a name.
    if rest.contains('@') {
        return Err(broken("an @ is not encoded"));
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (servers, database) = before.split_once('/').unwrap_or((before, ""));
    let servers: Vec<_> = servers.split(',').map(server).collect::<Result<_>>()?;
    let list = |parts: Vec<&str>| parts.join(",");
    store(
        "host",
        &list(servers.iter().map(|(host, _)| *host).collect()),
    )?;
    store(
        "port",
        &list(servers.iter().map(|(_, port)| *port).collect()),
    )?;
    store("dbname", database)?;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        pairs.push(query_parameter(parameter)?);
    }
    Ok(pairs)
}

/// Parses `host[:port]`, where an IPv6 address stands in brackets.
fn server(text: &str) -> Result<(&str, &str)> {
    let (host, after) = match text.strip_prefix('[') {
        Some(text) => {
            let (host, after) = text
                .split_once(']')
                .filter(|(host, _)| !host.is_empty())
                .ok_or_else(|| broken("an IPv6 address in brackets is not whole"))?;
            (host, after)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match after.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if after.is_empty() => Ok((host, "")),
        None => Err(broken(
            "an IPv6 address is followed by neither a port nor a database",
        )),
    }
}

fn query_parameter(text: &str) -> Result<Pair> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| broken("a parameter after the \"?\" has no \"=\""))?;
    if value.contains('=') {
        return Err(broken("a parameter after the \"?\" has a second \"=\""));
    }
    match (decode(name)?.as_str(), decode(value)?) {
        // Of JDBC.
        ("ssl", value) if value == "true" => Ok(("sslmode".into(), "require".into())),
        (name, value) => Ok((name.to_owned(), value)),
    }
}

/// Decodes `%XX` to the byte XX; white space has to be written so.
fn decode(text: &str) -> Result<String> {
    let text = text.trim_ascii();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let digits = after.first_chunk::<2>().and_then(hexadecimal);
                let decoded = digits.filter(|byte| *byte != 0);
                bytes.push(decoded.ok_or_else(|| broken("a %XX is not a byte other than 0"))?);
                rest = &after[2..];
            }
            byte if byte.is_ascii_whitespace() => return Err(broken("a space is not written %20")),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| broken("it is not UTF-8 once decoded"))
}

fn hexadecimal(digits: &[u8; 2]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a key=value string, which libpq's own tests print too.
    fn shown(text: &str) -> String {
        let pairs = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}='{v}'")).collect();
        pairs.join(" ")
    }

    #[test]
    fn uris() {
        for (uri, expected) in [
            (
                "postgresql://uri-user:secret@host:12345/db",
                "user='uri-user' password='secret' host='host' port='12345' dbname='db'",
            ),
            ("postgresql://", ""),
            ("postgres://host/", "host='host'"),
            ("postgres:///db", "dbname='db'"),
            ("postgres://u@", "user='u'"),
            ("postgres://:p@h", "password='p' host='h'"),
            ("postgres://u:@h:/", "user='u' host='h'"),
            ("postgres://?host=a", "host='a'"),
            (
                "postgres://uri%2Duser@host?user=x",
                "user='uri-user' host='host' user='x'",
            ),
            ("postgres://host/db?", "host='host' dbname='db'"),
            ("postgres://%68ost/%64b", "host='host' dbname='db'"),
            ("postgres://[::1]:1/db", "host='::1' port='1' dbname='db'"),
            ("postgres://[2001:db8::1]", "host='2001:db8::1'"),
            ("postgres://[::1],h:2?a=b", "host='::1,h' port=',2' a='b'"),
            (
                "postgres://a:1,b,c:3/db",
                "host='a,b,c' port='1,,3' dbname='db'",
            ),
            ("postgres://,h", "host=',h' port=','"),
            (
                "postgres://u@%2Fvar%2Flib/db",
                "user='u' host='/var/lib' dbname='db'",
            ),
            (
                "postgres:///db?host=/path/to/socket/dir",
                "dbname='db' host='/path/to/socket/dir'",
            ),
            (
                "postgres://u:a%40%25%C3%BC@h",
                "user='u' password='a@%ü' host='h'",
            ),
            (
                "postgres://u:a?b#c&=@h",
                "user='u' password='a?b#c&=' host='h'",
            ),
            ("postgres://h?ssl=true", "host='h' sslmode='require'"),
            ("postgres://h?ssl=false", "host='h' ssl='false'"),
            (
                "postgres://h?options=-c%20a%3D1&%75ser=u&connect_timeout=",
                "host='h' options='-c a=1' user='u' connect_timeout=''",
            ),
        ] {
            assert_eq!(shown(uri), expected, "{uri}");
        }
    }

    #[test]
    fn key_value_strings() {
        for (text, expected) in [
            ("", ""),
            ("  host = a  port=1 ", "host='a' port='1'"),
            ("host=a host=b", "host='a' host='b'"),
            (
                r"password=a\ b\'c\\d user=u",
                r"password='a b'c\d' user='u'",
            ),
            (
                r"password = 'a b\'c\\d'user=u",
                r"password='a b'c\d' user='u'",
            ),
            ("password=''\tuser=u", "password='' user='u'"),
            (
                "password=p@ss:w/rd%20 user=ü",
                "password='p@ss:w/rd%20' user='ü'",
            ),
            ("options='-c a=1'", "options='-c a=1'"),
            (r"password=a\", "password='a'"),
            ("a= b=c", "a='b=c'"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_broken_is_told_without_a_part_of_it() {
        for text in [
            "hunter2",
            "hunter2 = 1 hunter2",
            "password='hunter2",
            r"password='hunter2\'",
            "postgres://u:hunter2@h@i/db",
            "postgres://u:hunter2/x@h/db",
            "postgres://u:1/hunter2@h/db",
            "postgres://u:p?hunter2=1/x@h/db",
            "postgres://u:hunter2%@h",
            "postgres://u:hunter2%2@h",
            "postgres://u:hunter2%zz@h",
            "postgres://u:hunter2%00@h",
            "postgres://u:hunter2%FF@h",
            "postgres://u:hunter2 x@h",
            "postgres://u:hunter2@[::1",
            "postgres://u:hunter2@[]",
            "postgres://u:hunter2@[::1]z",
            "postgres://h/db?hunter2",
            "postgres://h/db?a=b=hunter2",
            "postgres://h/db?user=u&hunter2&x=y",
            "mysql://u:hunter2@h/db",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("the database URL cannot be read: "),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
