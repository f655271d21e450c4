//! What goes to the standard output: lines, tables for people, JSON for programs.

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// The standard output refused what we wrote.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the standard output")]
pub struct OutputError {
    #[source]
    source: io::Error,
}

impl OutputError {
    /// Whether the reader has simply left (`vserver list | head -1`): not worth a word.
    pub fn is_reader_gone(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Whether colour may be used on `stream`: a terminal, and `NO_COLOR` unset or empty (no-color.org).
pub fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// The buffered standard output.
pub struct Output {
    out: BufWriter<io::Stdout>,
    discard: bool,
}

impl Output {
    /// The process's standard output.
    pub fn stdout() -> Self {
        Self { out: BufWriter::new(io::stdout()), discard: false }
    }

    /// Drops everything written from here on: only the exit code counts.
    pub fn discard(&mut self) {
        self.discard = true;
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        if self.discard {
            return Ok(());
        }
        self.out.write_all(bytes).map_err(|source| OutputError { source })
    }

    /// One line of text.
    pub fn line(&mut self, text: impl AsRef<OsStr>) -> Result<(), OutputError> {
        self.bytes(text.as_ref().as_bytes())?;
        self.bytes(b"\n")
    }

    /// A value as indented JSON with a final newline.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        if self.discard {
            return Ok(());
        }
        serde_json::to_writer_pretty(&mut self.out, value)
            .map_err(|error| OutputError { source: error.into() })?;
        self.bytes(b"\n")
    }

    /// Rows under a header, as wide as needed, no lines; the header is bold on a terminal.
    pub fn table(&mut self, columns: &[(&str, Align)], rows: &[Vec<String>]) -> Result<(), OutputError> {
        let bold = colour_on(&io::stdout());
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|(name, _)| Cell::new(name)));
        for row in rows {
            table.add_row(row);
        }
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            if *align == Align::Right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (number, line) in table.lines().enumerate() {
            let line = line.trim_end();
            if bold && number == 0 {
                self.line(format!("\x1b[1m{line}\x1b[0m"))?;
            } else {
                self.line(line)?;
            }
        }
        Ok(())
    }

    /// Sends what is buffered; call it before anything else writes to the same descriptor.
    pub fn flush(&mut self) -> Result<(), OutputError> {
        self.out.flush().map_err(|source| OutputError { source })
    }
}
