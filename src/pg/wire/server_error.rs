//! A server's errors, and what each means for this program.

use std::fmt::Write as _;

use super::cursor::Cursor;
use crate::base::error::{Error, Kind, Reason};
use crate::base::lsn::Lsn;
use crate::base::printable::{Escaping, capped};

/// The fields of an ErrorResponse or NoticeResponse that matter
/// ([error fields](https://www.postgresql.org/docs/current/protocol-error-fields.html)).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// `V`, else `S`: ERROR, FATAL, WARNING, ...
    pub severity: String,
    /// `C`: the SQLSTATE.
    pub code: String,
    /// `M`: one line.
    pub message: String,
    /// `D`: more, if the server has more to say.
    pub detail: Option<String>,
    /// `H`: the advice of the server.
    pub hint: Option<String>,
    /// `W`: what the server was doing.
    pub context: Option<String>,
}

impl ServerError {
    /// Decodes Byte1 field type · String value, repeated, up to a zero byte. What cannot be read is left
    /// out: an error must be reported, however broken.
    pub fn decode(body: &[u8]) -> ServerError {
        let mut fields = ServerError::default();
        let mut c = Cursor::new(body);
        while let Ok(field) = c.u8("field")
            && field != 0
            && let Ok(value) = c.str("value")
        {
            // It may quote a whole row, and a server that has not let us in may say anything.
            let value = capped(&value);
            match field {
                b'V' => fields.severity = value,
                b'S' if fields.severity.is_empty() => fields.severity = value,
                b'C' => fields.code = value,
                b'M' => fields.message = value,
                b'D' => fields.detail = Some(value),
                b'H' => fields.hint = Some(value),
                b'W' => fields.context = Some(value),
                _ => {}
            }
        }
        fields
    }

    /// Whether the error is of a pooler: PgBouncer says it, in the same words in all of its versions,
    /// but with the SQLSTATE of much that passes, such as a server that it cannot reach. A server says
    /// it in other words.
    fn is_of_a_pooler(&self) -> bool {
        self.message.starts_with("unsupported startup parameter")
    }

    /// The error of this program that the server's error amounts to.
    pub fn into_error(self) -> Error {
        if self.is_of_a_pooler() {
            return pooler(&format!("it says: {self}"));
        }
        let mut text = format!("the server says: {} {}", self.severity, self.message);
        let quotes_data = self.quotes_data();
        if let Some(detail) = self.detail.filter(|_| !quotes_data) {
            text = format!("{text}; {detail}");
        }
        let mut error = Error::new(kind(&self.code), format!("{text} [SQLSTATE {}]", self.code));
        // duplicate_object; unique_violation, of a catalog's index, when both made it at the same time.
        if matches!(self.code.as_str(), "42710" | "23505") {
            error = error.with_reason(Reason::AlreadyExists);
        }
        match hint(&self.code).map(str::to_owned).or(self.hint) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The error of a statement of ours: that calls nothing that others have made, but a trigger may
    /// run at it.
    pub fn into_statement_error(self) -> Error {
        match self.trigger() {
            Some(place) => self.into_trigger_error(&place, Reason::Trigger),
            None => self.into_error(),
        }
    }

    /// The error of a login. Who is let in is decided by triggers and extensions, too, which raise
    /// what they like; whatever has no meaning here may be over in a while, as a trigger's hours are.
    pub fn into_login_error(self) -> Error {
        if let Some(place) = self.trigger() {
            return self.into_trigger_error(&place, Reason::LoginRefused);
        }
        // object_not_in_prerequisite_state: the database takes no connections now.
        if self.code == "55000" {
            return self.into_error().of_kind(Kind::Unreachable);
        }
        let is_password = self.code == "28P01";
        let error = self.into_error();
        match error.kind() {
            Kind::Permission if is_password => error.with_reason(Reason::PasswordRefused),
            Kind::Undeliverable => error
                .of_kind(Kind::Permission)
                .with_reason(Reason::LoginRefused),
            _ => error,
        }
    }

    /// The place in code of the database's users that raised the error: the function that was called
    /// first, of which the last line tells. What is above may be SQL with the data of somebody. Decoding
    /// tells its place too, with the name of the plugin, and so may what waits for a lock.
    fn trigger(&self) -> Option<String> {
        let place = self.context.as_deref()?.lines().last()?;
        let is_ours = place.contains("pgoutput") || kind(&self.code) == Kind::Unreachable;
        (!is_ours).then(|| place.to_owned())
    }

    /// The error that a trigger raised. It raises what it likes: the code only says whether a right is
    /// missing.
    fn into_trigger_error(self, place: &str, reason: Reason) -> Error {
        let kind = match (reason, kind(&self.code)) {
            (Reason::LoginRefused, _) | (_, Kind::Permission) => Kind::Permission,
            _ => Kind::Config,
        };
        let hint = self.hint.clone().unwrap_or_else(|| {
            "an event trigger of the database refuses it: \\dy in psql lists them; ask whoever \
             made it"
                .to_owned()
        });
        let message = format!("{}, {place}", self.into_error().message());
        Error::new(kind, message)
            .with_reason(reason)
            .with_hint(hint)
    }

    /// Whether the details quote the data itself: those of data exceptions and violated constraints do.
    fn quotes_data(&self) -> bool {
        self.code.starts_with("22") || self.code.starts_with("23")
    }

    /// Leaves out what may quote a row. A row filter can fail on one while the server decodes, and then
    /// the message itself quotes it: `date field value out of range: 2020-13-45`.
    pub fn without_rows(self) -> ServerError {
        if !self.quotes_data() {
            return self;
        }
        ServerError {
            message: "an error whose text may quote a row and is left out".into(),
            detail: None,
            hint: Some("see the server's log for its text".into()),
            ..self
        }
    }

    /// Whether the server cannot decode what the slot holds because it is older than the
    /// publication. Servers up to 17 end the stream with an error; later ones warn, once, and leave
    /// the changes out.
    pub fn publication_is_too_young(&self) -> bool {
        // undefined_object; object_not_in_prerequisite_state. Messages are translated, codes are not; nor
        // is the name of the plugin in whose callback it happens. Outside of those, the same code is a
        // warning that a standby of synchronized_standby_slots is waited for.
        let is_of_plugin = || {
            let context = self.context.as_deref();
            context.is_some_and(|context| context.contains("pgoutput"))
        };
        match (self.code.as_str(), self.severity.as_str()) {
            ("42704", _) => true,
            ("55000", "WARNING") => is_of_plugin(),
            _ => false,
        }
    }

    /// The error of a stream that this message came in.
    pub fn into_stream_error(self) -> Error {
        let (kind, message, why) = if self.is_of_an_encoding() {
            self.unconvertible()
        } else if self.publication_is_too_young() {
            self.too_young()
        } else if self.code == "58P01" {
            self.wal_is_gone()
        } else if self.is_of_decoding() {
            self.undecodable()
        } else {
            return self.without_rows().into_error();
        };
        Error::new(kind, message)
            .with_hint(format!("{why}: {GIVE_UP}"))
            .with_reason(Reason::SlotUseless)
    }

    fn too_young(self) -> (Kind, String, &'static str) {
        let message = format!(
            "the server says: {self}: the slot holds changes of a time without the publication, which \
             cannot be decoded"
        );
        (
            Kind::Gap,
            message,
            "to make the publication now does not help",
        )
    }

    /// The meaning of undefined_file: somebody has removed files of `pg_wal`, or reset the server.
    fn wal_is_gone(self) -> (Kind, String, &'static str) {
        let message = format!("the server says: {self}: WAL that the slot needs is gone");
        (
            Kind::Gap,
            message,
            "if a file was moved away from pg_wal, put it back and start again; else",
        )
    }

    /// Whether the change itself brings the error about, in the server's decoding or in what users have
    /// made a part of that, such as a row filter. Internal errors count too.
    fn is_of_decoding(&self) -> bool {
        let class = self.code.get(..2).unwrap_or_default();
        let is_of_a_change = ["21", "22", "23", "2F", "38", "39", "42", "P0", "XX"];
        is_of_a_change.contains(&class) && self.code != "42501"
    }

    fn undecodable(self) -> (Kind, String, &'static str) {
        let place = self.place();
        let message = format!(
            "the server cannot decode the change {place}: the server says: {}",
            self.without_rows()
        );
        (
            Kind::Undeliverable,
            message,
            "a change is decoded with the catalog of its time, so it does not help to change the row \
             filter, the table or the row now",
        )
    }

    /// The place of the server in its WAL, which the context names at the end: `..., associated LSN
    /// 0/1D4C068`.
    fn place(&self) -> String {
        const AT: &str = "associated LSN ";
        let context = self.context.as_deref().unwrap_or_default();
        let lsn = context.lines().find_map(|line| {
            let (_, lsn) = line.split_once(AT)?;
            lsn.parse::<Lsn>().ok()
        });
        lsn.map_or("after the last one".to_owned(), |lsn| format!("at {lsn}"))
    }

    /// Whether it is untranslatable_character or character_not_in_repertoire.
    fn is_of_an_encoding(&self) -> bool {
        matches!(self.code.as_str(), "22P05" | "22021")
    }

    /// The meaning of a value that cannot be converted: the server's words quote it, and not its place.
    fn unconvertible(self) -> (Kind, String, &'static str) {
        let message = format!(
            "the server cannot convert a value, or a name, of the change {} to UTF-8 [SQLSTATE {}]",
            self.place(),
            self.code
        );
        (
            Kind::Undeliverable,
            message,
            "it has bytes that mean nothing in the database's encoding; correct the row, and then",
        )
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            Escaping(f),
            "{} {} [SQLSTATE {}]",
            self.severity,
            self.message,
            self.code
        )
    }
}

/// The way past what a slot holds and nobody can read.
pub const GIVE_UP: &str = "give up what the slot holds with \"postgres-source accept-gap --config FILE \
    --reason TEXT\", which makes the slot anew (with --stdout: SELECT pg_drop_replication_slot('NAME')), \
    and copy the tables anew if consumers need what is missing";

/// The error of a connection to what is not the server itself.
pub fn pooler(why: &str) -> Error {
    Error::config(format!(
        "it is a connection pooler, not PostgreSQL itself: {why}"
    ))
    .with_hint(
        "name PostgreSQL itself in FLUVIO_PG_DATABASE_URL, by its own host and port, instead of the \
         pooler",
    )
    .with_reason(Reason::Pooler)
}

/// The address that a server sees us at, if no line of its pg_hba.conf lets that in. The SQLSTATE is
/// that of every login that is refused, and only the words have the address: a server that speaks
/// another language has the hint of its SQLSTATE.
pub fn refused_address(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("no pg_hba.conf entry for host \"")?;
    rest.split('"').next()
}

/// The kind of error that a SQLSTATE means
/// ([error codes](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
fn kind(code: &str) -> Kind {
    match code {
        "55006" => Kind::SlotInUse,
        // query_canceled, admin_shutdown, crash_shutdown, cannot_connect_now
        "57014" | "57P01" | "57P02" | "57P03" | "57P05" => Kind::Unreachable,
        // lock_not_available, deadlock_detected; serialization_failure, which is a standby's conflict
        // with its primary: the slot says afterwards what became of it
        "55P03" | "40P01" | "40001" => Kind::Unreachable,
        // configuration_limit_exceeded: waiting does not raise a limit
        "53400" => Kind::Config,
        "42501" => Kind::Permission,
        _ => match code.get(..2).unwrap_or_default() {
            "08" | "53" => Kind::Unreachable,
            "28" => Kind::Permission,
            // P0 and 23 are those of users' code.
            "3D" | "3F" | "42" | "55" | "25" | "0A" | "22" | "23" | "P0" => Kind::Config,
            _ => Kind::Undeliverable,
        },
    }
}

fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" | "28000" => {
            "check the user and the password in FLUVIO_PG_DATABASE_URL, and pg_hba.conf: a \
             replication connection of this kind matches the lines of its database, not those of \
             the keyword \"replication\""
        }
        "53300" => "raise max_wal_senders or max_connections, or end a connection that is not used",
        "53400" => {
            "raise max_replication_slots in postgresql.conf and restart the server, or drop a slot that \
             is not used; or raise temp_file_limit, if that is what it speaks of"
        }
        "25006" => {
            "nothing can be written there: it is a standby, or default_transaction_read_only is on \
             for the role, the database or the server; \\drds in psql shows what is set"
        }
        "25P04" | "57P05" => {
            "transaction_timeout or idle_session_timeout of the role, the database or the server is \
             over before it can be lifted: \\drds in psql shows what is set, ALTER ROLE ... RESET ... \
             or ALTER DATABASE ... RESET ... mends it"
        }
        "3D000" => "check the database name in FLUVIO_PG_DATABASE_URL",
        "55006" => "another process streams from this slot; each connector needs a slot of its own",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_judgement() {
        let body = b"SFEHLER\0VERROR\0C55006\0Mreplication slot \"a\" is active\0Dby 12\0\0";
        let error = ServerError::decode(body).into_error();
        assert_eq!(error.kind(), Kind::SlotInUse);
        assert!(error.to_string().starts_with(
            "the server says: ERROR replication slot \"a\" is active; by 12 [SQLSTATE 55006] (hint:"
        ));
    }

    #[test]
    fn a_pooler_is_known_by_its_words() {
        let judged = |message: &str| {
            let body = format!("SFATAL\0C08P01\0M{message}\0\0");
            let error = ServerError::decode(body.as_bytes()).into_error();
            (error.kind(), error.reason())
        };
        for parameter in [": replication", ": DateStyle", " in options: x"] {
            let message = format!("unsupported startup parameter{parameter}");
            let pooler = (Kind::Config, Some(Reason::Pooler));
            assert_eq!(judged(&message), pooler, "{message}");
        }
        for message in ["pgbouncer cannot connect to server", "server login failed"] {
            assert_eq!(judged(message), (Kind::Unreachable, None), "{message}");
        }
    }

    #[test]
    fn details_that_quote_data_are_left_out() {
        let body = b"VERROR\0C23505\0Mduplicate key\0DKey (a)=(secret) exists\0\0";
        assert!(
            !ServerError::decode(body)
                .into_error()
                .to_string()
                .contains("secret")
        );
    }

    #[test]
    fn a_value_without_a_form_in_utf8_is_not_quoted() {
        let body =
            b"VERROR\0C22P05\0Mcharacter 0x98 has no equivalent\0Wassociated LSN 0/1D4C068\0\0";
        let error = ServerError::decode(body).into_stream_error();
        assert_eq!(error.kind(), Kind::Undeliverable);
        let text = error.to_string();
        assert!(
            text.contains("0/1D4C068") && !text.contains("0x98"),
            "{text}"
        );
    }

    #[test]
    fn a_row_that_cannot_be_decoded_is_not_quoted_at_all() {
        let body = b"VERROR\0C22008\0Mdate out of range: secret\0Dsecret\0Hsecret\0\0";
        let error = ServerError::decode(body).into_stream_error().to_string();
        assert!(
            error.contains("[SQLSTATE 22008]") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn a_standby_that_is_waited_for_is_no_gap() {
        let warning = |context: &str| {
            let body = format!("VWARNING\0C55000\0Mreplication slot \"gone\" {context}\0\0");
            ServerError::decode(body.as_bytes()).publication_is_too_young()
        };
        assert!(!warning(""));
        let callback = "\0Wslot \"s\", output plugin \"pgoutput\", in the change callback";
        assert!(warning(callback));
    }

    #[test]
    fn broken_fields_still_make_an_error() {
        for end in 0..12 {
            ServerError::decode(&b"VERROR\0C08P\0\0"[..end]).into_error();
        }
    }
}
