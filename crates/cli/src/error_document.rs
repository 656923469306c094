//! An error as a JSON document: everything the diagnosis holds, under stable names.

use serde::Serialize;
use twinbpf::diagnosis::{Category, Place, SourceLine, Stage};
use twinbpf::{Error, ErrorKind};

/// The whole document.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDocument<'a> {
    ok: bool,
    error: ErrorFields<'a>,
}

/// The error itself, as it stands in every document.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorFields<'a> {
    code: &'a str,
    title: &'a str,
    kind: &'a str,
    stage: &'a str,
    category: Option<&'a str>,
    message: &'a str,
    text: String,
    context: &'a [String],
    place: PlaceFields<'a>,
    related: Vec<RelatedFields<'a>>,
    facts: Vec<FactFields<'a>>,
    help: &'a [String],
    kernel_text: Option<&'a str>,
    errno: Option<ErrnoFields>,
}

#[derive(Debug, Serialize)]
struct PlaceFields<'a> {
    file: Option<&'a str>,
    section: Option<&'a str>,
    offset: Option<u64>,
    map: Option<&'a str>,
    program: Option<&'a str>,
    insn: Option<InsnFields<'a>>,
    source: Option<SourceFields<'a>>,
}

#[derive(Debug, Serialize)]
struct InsnFields<'a> {
    index: u32,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct SourceFields<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct RelatedFields<'a> {
    label: &'a str,
    insn: Option<InsnFields<'a>>,
    source: Option<SourceFields<'a>>,
}

#[derive(Debug, Serialize)]
struct FactFields<'a> {
    label: &'a str,
    value: &'a str,
}

#[derive(Debug, Serialize)]
struct ErrnoFields {
    number: i32,
    name: Option<&'static str>,
}

impl<'a> ErrorDocument<'a> {
    pub(crate) fn new(error: &'a Error) -> Self {
        Self {
            ok: false,
            error: ErrorFields::new(error),
        }
    }
}

impl<'a> ErrorFields<'a> {
    pub(crate) fn new(error: &'a Error) -> Self {
        let diagnosis = error.diagnosis();
        let facts = diagnosis.facts.iter().map(|fact| FactFields {
            label: &fact.label,
            value: &fact.value,
        });
        let related = diagnosis.related.iter().map(|related| RelatedFields {
            label: &related.label,
            insn: related.insn.as_ref().map(InsnFields::new),
            source: related.source.as_ref().map(SourceFields::new),
        });
        let errno = diagnosis.errno.map(|errno| ErrnoFields {
            number: errno.0,
            name: errno.name(),
        });
        Self {
            code: diagnosis.code.as_str(),
            title: diagnosis.code.row().title,
            kind: kind_name(diagnosis.kind),
            stage: stage_name(diagnosis.stage),
            category: diagnosis.category.map(category_name),
            message: &diagnosis.message,
            text: diagnosis.one_line(),
            context: &diagnosis.context,
            place: PlaceFields::new(&diagnosis.place),
            related: related.collect(),
            facts: facts.collect(),
            help: &diagnosis.help,
            kernel_text: diagnosis.kernel_text.as_deref(),
            errno,
        }
    }
}

impl<'a> PlaceFields<'a> {
    fn new(place: &'a Place) -> Self {
        Self {
            file: place.file.as_deref(),
            section: place.section.as_deref(),
            offset: place.offset,
            map: place.map.as_deref(),
            program: place.program.as_deref(),
            insn: place.insn.as_ref().map(InsnFields::new),
            source: place.source.as_ref().map(SourceFields::new),
        }
    }
}

impl<'a> InsnFields<'a> {
    fn new((index, text): &'a (u32, String)) -> Self {
        Self {
            index: *index,
            text,
        }
    }
}

impl<'a> SourceFields<'a> {
    fn new(source: &'a SourceLine) -> Self {
        Self {
            file: &source.file,
            line: source.line,
            column: source.column,
            text: &source.text,
        }
    }
}

pub(crate) fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Usage => "usage",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Permission => "permission",
        ErrorKind::Rejected => "rejected",
        ErrorKind::BadObject => "bad_object",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Limit => "limit",
        ErrorKind::Exists => "exists",
        ErrorKind::Fault => "fault",
        ErrorKind::Io => "io",
        _ => "other",
    }
}

pub(crate) fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Read => "read",
        Stage::Parse => "parse",
        Stage::Link => "link",
        Stage::CreateMap => "create_map",
        Stage::LoadProgram => "load_program",
        Stage::Attach => "attach",
        Stage::MapOperation => "map_operation",
        Stage::Run => "run",
        Stage::Host => "host",
        _ => "other",
    }
}

pub(crate) fn category_name(category: Category) -> &'static str {
    match category {
        Category::RegisterType => "register_type",
        Category::Memory => "memory",
        Category::ResourceLifetime => "resource_lifetime",
        Category::CallType => "call_type",
        Category::ExecutionContext => "execution_context",
        Category::ProgramStructure => "program_structure",
        Category::Policy => "policy",
    }
}
