//! Where a linked program's instructions come from.

use std::sync::Arc;

use crate::btf::Btf;
use crate::diagnosis::SourceLine;
use crate::insn::InsnIndex;
use crate::spec::LineInfo;

/// The source lines of a linked program, with the types that hold their texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceLines {
    btf: Option<Arc<Btf>>,
    lines: Vec<LineInfo>,
}

impl SourceLines {
    /// No lines yet; their texts will be in `btf`.
    pub(super) fn new(btf: Option<Arc<Btf>>) -> Self {
        Self {
            btf,
            lines: Vec::new(),
        }
    }

    /// Adds the lines of a function that starts at `start`. Functions come in the order of their starts.
    pub(super) fn extend(&mut self, start: InsnIndex, lines: &[LineInfo]) {
        self.lines.extend(lines.iter().map(|info| LineInfo {
            at: InsnIndex(start.0.saturating_add(info.at.0)),
            ..*info
        }));
    }

    /// Where the instructions from each on come from, ascending.
    pub fn lines(&self) -> &[LineInfo] {
        &self.lines
    }

    /// The types of the object that the lines are from.
    pub fn types(&self) -> Option<&Btf> {
        self.btf.as_deref()
    }

    /// The line that the instruction `at` comes from; `function` is the start of its function.
    pub fn find(&self, at: InsnIndex, function: InsnIndex) -> Option<SourceLine> {
        let btf = self.btf.as_deref()?;
        let after = self.lines.partition_point(|info| info.at <= at);
        let info = self.lines.get(after.checked_sub(1)?)?;
        if info.at < function {
            return None;
        }
        Some(SourceLine {
            file: btf.text(info.line.file).to_owned(),
            line: info.line.line,
            column: info.line.column,
            text: btf.text(info.line.text).to_owned(),
        })
    }
}
