//! The user side of four known tracing tools, which are objects from outside: each is loaded, attached where its sections say, and
//! what this process does then is read back from its ring, its perf buffer or its map.
//!
//! ```text
//! guest-tools TOOL OBJECT       opensnoop execsnoop tcpconnect biolatency
//! ```
//!
//! Rows go to stdout. The exit status is 0 only if what was done was among them. It runs in guests: biolatency wants a disk of its own
//! to read from, and all of them watch the whole machine.

mod tools;

use std::fs;
use std::process::ExitCode;

use twinbpf::Object;

use self::tools::Answer;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rows = match &words[..] {
        [tool, object] => run(tool, object),
        _ => Err("usage: guest-tools TOOL OBJECT".into()),
    };
    match rows {
        Ok(rows) => {
            rows.iter().for_each(|row| say(row));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{}: {error}", words.join(" ")));
            ExitCode::FAILURE
        }
    }
}

fn run(tool: &str, file: &str) -> Answer {
    let object = Object::parse(&fs::read(file)?)?;
    match tool {
        "opensnoop" => tools::opensnoop(&object),
        "execsnoop" => tools::execsnoop(&object),
        "tcpconnect" => tools::tcpconnect(&object),
        "biolatency" => tools::biolatency(object),
        _ => Err(format!("no tool is called `{tool}`").into()),
    }
}

#[expect(clippy::print_stdout, reason = "rows are what the command is for")]
fn say(text: &str) {
    println!("{text}");
}
