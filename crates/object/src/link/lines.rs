//! Where a linked program's instructions come from.

use std::sync::Arc;

use crate::btf::Btf;
use crate::diagnosis::SourceLine;
use crate::insn::InsnIndex;
use crate::spec::LineInfo;

/// The source lines of a linked program, with the types that hold their texts. They are those of its functions, shared: there
/// may be half as many as instructions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceLines {
    btf: Option<Arc<Btf>>,
    /// By function: where it starts, and its lines, counted from there.
    functions: Vec<(InsnIndex, Arc<Vec<LineInfo>>)>,
}

impl SourceLines {
    /// No lines yet; their texts will be in `btf`.
    pub(super) fn new(btf: Option<Arc<Btf>>) -> Self {
        Self {
            btf,
            functions: Vec::new(),
        }
    }

    /// Adds the lines of a function that starts at `start`. Functions come in the order of their starts.
    pub(super) fn extend(&mut self, start: InsnIndex, lines: &Arc<Vec<LineInfo>>) {
        self.functions.push((start, Arc::clone(lines)));
    }

    /// Where the instructions from each on come from, ascending.
    pub fn lines(&self) -> impl Iterator<Item = LineInfo> {
        self.functions.iter().flat_map(|(start, lines)| {
            lines.iter().map(|info| LineInfo {
                at: InsnIndex(start.0.saturating_add(info.at.0)),
                ..*info
            })
        })
    }

    /// How many [`SourceLines::lines`] gives.
    pub fn count(&self) -> usize {
        self.functions.iter().map(|(_, lines)| lines.len()).sum()
    }

    /// The types of the object that the lines are from.
    pub fn types(&self) -> Option<&Btf> {
        self.btf.as_deref()
    }

    /// The line that the instruction `at` comes from; `function` is the start of its function.
    pub fn find(&self, at: InsnIndex, function: InsnIndex) -> Option<SourceLine> {
        let btf = self.btf.as_deref()?;
        let known = &self.functions;
        let after = known.partition_point(|(start, _)| *start <= function);
        let (start, lines) = known.get(after.checked_sub(1)?)?;
        let at = InsnIndex(at.0.checked_sub(start.0)?);
        let after = lines.partition_point(|info| info.at <= at);
        let info = lines.get(after.checked_sub(1)?)?;
        Some(SourceLine {
            file: btf.text(info.line.file).to_owned(),
            line: info.line.line,
            column: info.line.column,
            text: btf.text(info.line.text).to_owned(),
        })
    }
}
