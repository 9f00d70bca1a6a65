//! JSON for programs. Whatever a terminal could take for a command is escaped.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::text::is_printable;

/// Writes a document, indented, while it is serialized: the document of ten thousand backups is never in memory whole.
pub fn write(document: &impl Serialize, sink: &mut impl Write) -> io::Result<()> {
    document.serialize(&mut Serializer::with_formatter(&mut *sink, Printable(PrettyFormatter::new())))?;
    writeln!(sink)
}

/// Writes a document on one line.
pub fn write_line(document: &impl Serialize, sink: &mut impl Write) -> io::Result<()> {
    document.serialize(&mut Serializer::with_formatter(&mut *sink, Printable(CompactFormatter)))?;
    writeln!(sink)
}

/// Escapes what JSON leaves as it is and a terminal takes for a command.
struct Printable<F>(F);

impl<F: Formatter> Formatter for Printable<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c| !is_printable(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let c = rest[at..].chars().next().unwrap_or_default();
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_reads_back_and_holds_nothing_that_a_terminal_obeys() {
        let all: String = (char::MIN..='\u{ffff}').collect();
        let document = json!({ "a\u{9b}": [1, [], {}, null, all], "b": { "c": true } });
        let mut written = Vec::new();
        write(&document, &mut written).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
        assert!(text.chars().all(|c| c == '\n' || is_printable(c)) && text.ends_with("}\n"));
        assert!(text.contains("\n  \"b\": {\n    \"c\": true\n  }\n"), "{}", &text[text.len() - 60..]);
        let mut line = Vec::new();
        write_line(&document, &mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), document);
        assert!(line.trim_end().chars().all(is_printable) && line.ends_with("}}\n"));
    }
}
