//! Tables of functions for interfaces of the kernel: read member by member, and what programs implement.

use twinbpf_object::link::ProgramTarget;
use twinbpf_object::spec::{MapOrigin, StructOps};
use twinbpf_object::{MapKind, Object, link};

use crate::fixtures::{TARGET, fixture};

fn tables() -> Object {
    Object::parse(fixture!("struct_ops")).unwrap()
}

fn table(object: &Object, name: &str) -> StructOps {
    let map = object.map(name).unwrap();
    assert_eq!(
        (map.kind, &map.origin),
        (MapKind::StructOps, &MapOrigin::StructOps)
    );
    StructOps::clone(map.struct_ops.as_ref().unwrap())
}

#[test]
fn each_variable_is_a_table_with_its_interface_and_members() {
    let object = tables();
    let halving = table(&object, "halving");
    assert_eq!(halving.interface, "tcp_congestion_ops");
    assert!(halving.needs_link && halving.autoload);
    let members: Vec<_> = halving
        .members
        .iter()
        .map(|member| {
            let program = member.program.as_deref();
            (member.name.as_str(), member.offset, member.size, program)
        })
        .collect();
    assert_eq!(
        members,
        [
            ("name", 0, 16, None),
            ("flags", 16, 4, None),
            ("undo_cwnd", 24, 8, Some("keep")),
            ("ssthresh", 32, 8, Some("half")),
            ("cong_avoid", 40, 8, Some("stay")),
            ("set_state", 48, 8, None),
            ("owner", 56, 8, None),
        ]
    );
    let name = halving.bytes_of(&halving.members[0]).unwrap();
    assert_eq!(name, b"twinbpf_halving\0");
    let nothing = table(&object, "nothing");
    assert!(!nothing.needs_link && !nothing.autoload);
    assert!(!table(&object, "imagined").autoload);
}

#[test]
fn settings_can_be_changed_before_loading_and_functions_cannot() {
    let mut halving = table(&tables(), "halving");
    assert!(halving.set("flags", &7_u32.to_ne_bytes()));
    assert_eq!(
        halving.bytes_of(&halving.members[1]).unwrap(),
        7_u32.to_ne_bytes()
    );
    assert!(!halving.set("flags", &[1]));
    assert!(!halving.set("ssthresh", &[0; 8]));
    assert!(!halving.set("no_such", &[]));
}

#[test]
fn a_program_implements_the_member_it_stands_for_whatever_its_section_says() {
    let linked = link(&tables(), &TARGET).unwrap();
    let targets: Vec<_> = linked
        .programs
        .iter()
        .map(|program| match &program.target {
            ProgramTarget::StructOpsMember { type_name, member } => {
                (program.name.as_str(), type_name.as_str(), member.as_str())
            }
            other => panic!("{}: {other:?}", program.name),
        })
        .collect();
    assert_eq!(
        targets,
        [
            ("half", "tcp_congestion_ops", "ssthresh"),
            ("stay", "tcp_congestion_ops", "cong_avoid"),
            ("never", "imagined_ops", "never"),
            ("keep", "tcp_congestion_ops", "undo_cwnd"),
        ]
    );
}
