//! The types that the kernel holds, and the maps and programs they came with; JSON has the field names of `bpftool btf`.

use serde::Serialize;
use twinbpf::{Engine, Program, Result, TypesInfo};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::table;

#[derive(Debug, Serialize)]
struct TypesRow {
    id: u32,
    size: u32,
    prog_ids: Vec<u32>,
    map_ids: Vec<u32>,
    kernel: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl TypesRow {
    fn cells(&self) -> [String; 5] {
        let joined = |ids: &[u32]| {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            ids.join(" ")
        };
        [
            self.id.to_string(),
            self.name.clone().unwrap_or_default(),
            self.size.to_string(),
            joined(&self.map_ids),
            joined(&self.prog_ids),
        ]
    }
}

const HEADING: [&str; 5] = ["ID", "OF", "BYTES", "MAPS", "PROGRAMS"];

/// `btf list`
pub(super) fn list(output: &Output) -> Result<Exit, Failure> {
    let rows = rows()?;
    if output.wants_json() {
        output.document(&rows)?;
    } else {
        let cells: Vec<_> = rows.iter().map(TypesRow::cells).collect();
        output.data(&table::render(HEADING, &cells))?;
    }
    Ok(Exit::Done)
}

fn rows() -> Result<Vec<TypesRow>> {
    let mut rows: Vec<TypesRow> = twinbpf::listed_types()?.into_iter().map(row).collect();
    let engine = Engine::kernel()?;
    for id in engine.map_ids()? {
        // What goes while we look is not shown.
        if let Some(map) = engine.map_by_id(id)?
            && let Some(types) = map.info()?.types_id
        {
            let of = rows.iter_mut().find(|row| row.id == types);
            of.into_iter().for_each(|row| row.map_ids.push(id));
        }
    }
    for id in Program::ids()? {
        if let Some(program) = Program::by_id(id)? {
            let types = program.info()?.types_id;
            let of = rows.iter_mut().find(|row| row.id == types);
            of.into_iter().for_each(|row| row.prog_ids.push(id));
        }
    }
    Ok(rows)
}

fn row(info: TypesInfo) -> TypesRow {
    TypesRow {
        id: info.id,
        size: info.size_bytes,
        prog_ids: Vec::new(),
        map_ids: Vec::new(),
        kernel: info.owner.is_some(),
        name: info.owner,
    }
}
