//! The rows as tables, one under the other.

use crate::table;

use super::rows::{
    BtfSummary, Document, ExternRow, FunctionRow, MapRow, ProgramRow, RelocationRow, SectionRow,
    VariableRow,
};

/// Characters of a value that a table shows.
const MOST_SHOWN: usize = 36;

impl Document {
    pub(super) fn text(&self) -> String {
        let license = match &self.license {
            Some(license) => format!("license {license:?}"),
            None => "no license".to_owned(),
        };
        let version = match self.version {
            Some(version) => format!(", version {version:#x}"),
            None => String::new(),
        };
        let mut parts = vec![format!(
            "{}: {}, {license}{version}",
            self.file, self.byte_order
        )];
        parts.extend(part("maps", &self.maps, map_table));
        parts.extend(slot_table(&self.maps).map(|table| format!("slots\n{table}")));
        parts.extend(part("variables", &self.variables, variable_table));
        parts.extend(part("programs", &self.programs, program_table));
        let others = self.functions.iter().filter(|each| !each.is_program);
        let others: Vec<&FunctionRow> = others.collect();
        parts.extend(part("other functions", &others, function_table));
        parts.extend(part("externs", &self.externs, extern_table));
        parts.extend(part(
            "relocations (CO-RE)",
            &self.relocations,
            relocation_table,
        ));
        parts.extend(self.btf.as_ref().map(btf_line));
        parts.extend(part("sections", &self.sections, section_table));
        parts.extend(part("warnings", &self.warnings, |warnings| {
            let lines: Vec<String> = warnings.iter().map(|each| format!("  {each}")).collect();
            lines.join("\n")
        }));
        parts.join("\n")
    }
}

/// A heading and what stands under it; nothing if there are no rows.
fn part<T>(heading: &str, rows: &[T], render: impl Fn(&[T]) -> String) -> Option<String> {
    (!rows.is_empty()).then(|| format!("{heading}\n{}", render(rows)))
}

fn map_table(maps: &[MapRow]) -> String {
    let rows: Vec<[String; 9]> = maps
        .iter()
        .map(|map| {
            [
                map.name.clone(),
                map.kind.clone(),
                map.key_size.to_string(),
                map.value_size.to_string(),
                map.max_entries.to_string(),
                format!("{:#x}", map.flags),
                or_dash(map.pinning.as_deref()),
                or_dash(map.inner.as_deref()),
                further_attributes(map),
            ]
        })
        .collect();
    let heading = [
        "NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "FLAGS", "PINNING", "INNER", "",
    ];
    table::render(heading, &rows)
}

/// What few maps have.
fn further_attributes(map: &MapRow) -> String {
    let extra = (map.extra != 0).then(|| format!("map_extra {:#x}", map.extra));
    let node = map.numa_node.map(|node| format!("numa_node {node}"));
    let further: Vec<String> = extra.into_iter().chain(node).collect();
    further.join(", ")
}

/// What maps hold from the start.
fn slot_table(maps: &[MapRow]) -> Option<String> {
    let rows: Vec<[String; 3]> = maps
        .iter()
        .flat_map(|map| map.values.iter().map(move |value| (map, value)))
        .map(|(map, value)| {
            let holds = format!("{} {}", value.kind, value.name);
            [map.name.clone(), value.slot.to_string(), holds]
        })
        .collect();
    (!rows.is_empty()).then(|| table::render(["MAP", "SLOT", "HOLDS"], &rows))
}

fn variable_table(variables: &[VariableRow]) -> String {
    let rows: Vec<[String; 6]> = variables
        .iter()
        .map(|variable| {
            let typed = variable.typed_value.as_ref().map(ToString::to_string);
            [
                variable.name.clone(),
                variable.map.clone(),
                format!("{:#x}", variable.offset),
                variable.size_bytes.to_string(),
                or_dash(variable.declared.as_deref()),
                shortened(typed.as_deref().unwrap_or(&variable.value)),
            ]
        })
        .collect();
    table::render(["NAME", "MAP", "OFFSET", "BYTES", "TYPE", "VALUE"], &rows)
}

/// Long values are cut in tables; the document has them whole.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}..", &value[..end]),
        None => value.to_owned(),
    }
}

fn program_table(programs: &[ProgramRow]) -> String {
    let rows: Vec<[String; 6]> = programs
        .iter()
        .map(|program| {
            [
                program.name.clone(),
                program.section.clone(),
                or_dash(program.kind.as_deref()),
                program.insns.to_string(),
                if program.autoload { "yes" } else { "no" }.to_owned(),
                or_dash(
                    program
                        .attach_target
                        .as_deref()
                        .or(program.attach.as_deref()),
                ),
            ]
        })
        .collect();
    let heading = [
        "NAME",
        "SECTION",
        "TYPE",
        "INSNS",
        "AUTOLOAD",
        "ATTACHES TO",
    ];
    table::render(heading, &rows)
}

fn function_table(functions: &[&FunctionRow]) -> String {
    let rows: Vec<[String; 4]> = functions
        .iter()
        .map(|function| {
            [
                function.name.clone(),
                function.section.clone(),
                function.linkage.to_owned(),
                function.insns.to_string(),
            ]
        })
        .collect();
    table::render(["NAME", "SECTION", "LINKAGE", "INSNS"], &rows)
}

fn extern_table(externs: &[ExternRow]) -> String {
    let rows: Vec<[String; 4]> = externs
        .iter()
        .map(|each| {
            [
                each.name.clone(),
                match each.form {
                    Some(form) => format!("{}: {form}", each.kind),
                    None => each.kind.to_owned(),
                },
                if each.is_weak { "yes" } else { "no" }.to_owned(),
                each.functions.join(", "),
            ]
        })
        .collect();
    table::render(["NAME", "KIND", "WEAK", "USED BY"], &rows)
}

fn relocation_table(relocations: &[RelocationRow]) -> String {
    let rows: Vec<[String; 7]> = relocations
        .iter()
        .map(|relocation| {
            let number = |number: Option<u64>| number.map(|number| number.to_string());
            let resolved = number(relocation.resolved).or_else(|| relocation.problem.clone());
            [
                relocation.function.clone(),
                relocation.insn.to_string(),
                relocation.kind.to_owned(),
                relocation.subject.clone(),
                relocation.path.clone(),
                or_dash(number(relocation.compiled).as_deref()),
                or_dash(resolved.as_deref()),
            ]
        })
        .collect();
    let heading = [
        "FUNCTION", "INSN", "ASKS", "ABOUT", "PATH", "COMPILED", "TARGET",
    ];
    table::render(heading, &rows)
}

fn btf_line(btf: &BtfSummary) -> String {
    let kinds: Vec<String> = btf
        .kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    format!("types (BTF)\n  {}: {}", btf.types, kinds.join(", "))
}

fn section_table(sections: &[SectionRow]) -> String {
    let rows: Vec<[String; 3]> = sections
        .iter()
        .map(|section| {
            [
                section.name.clone(),
                section.size_bytes.to_string(),
                section.role.to_owned(),
            ]
        })
        .collect();
    table::render(["NAME", "BYTES", "ROLE"], &rows)
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
