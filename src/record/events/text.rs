//! Strings.

use std::io::Write;

use super::Writer;
use crate::record::text::WriteJson;

impl<W: Write> Writer<'_, W> {
    pub(super) fn text(&mut self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else {
            return false;
        };
        self.raw(b"{\"String\":");
        self.string(text);
        self.raw(b"}");
        true
    }

    pub(super) fn string(&mut self, text: &str) {
        self.out.string(text);
    }
}
