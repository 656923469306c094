//! BPF as a plug-in language: a shop lets programs decide discounts, safely and inside its own process.
//!
//! ```text
//! cargo run --example plugin
//! ```
//!
//! The shop declares a hook point, the struct its programs see, and one function of its own that they can call. A plug-in cannot
//! read the shop's memory, loop forever or crash it; its counts lie in a map that the shop reads.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;

use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use twinbpf::{Engine, HookField, HookPoint, Object, Result, VmBuilder, VmConfig};

/// What a plug-in sees of an order: `struct order` in `discount.bpf.c`.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[zerocopy(crate = "twinbpf::zerocopy")]
#[repr(C)]
struct Order {
    item: u32,
    quantity: u32,
    discount_percent: u32,
}

fn main() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/plugin/discount.bpf.o");
    let bytes = std::fs::read(&file).map_err(|error| {
        twinbpf::Diagnosis::new(twinbpf::Code::USAGE, format!("{}: {error}", file.display()))
    })?;
    let mut object = Object::parse(&bytes)?;

    let orders = HookPoint {
        section: "shop".to_owned(),
        context_bytes: size_of::<Order>(),
        writable: vec![HookField {
            offset: std::mem::offset_of!(Order, discount_percent),
            bytes: size_of::<u32>(),
        }],
        data: None,
    };
    let plugins = orders.adopt(&mut object);

    let vm = VmBuilder::new(VmConfig::default())
        .function("shop_stock", |item: u32| -> u32 { item * 800 })
        .build()?;
    let loaded = Engine::Vm(vm).load_object(&object)?;
    let mut plugin = loaded.program("discount")?.at(&orders)?;
    println!("{plugins} plug-in");

    for (item, quantity) in [(1, 3), (1, 12), (2, 12), (1, 900)] {
        let mut order = Order {
            item,
            quantity,
            discount_percent: 0,
        };
        match plugin.run(&mut order)? {
            0 => println!(
                "{quantity} of item {item}: {} % off",
                order.discount_percent
            ),
            _ => println!("{quantity} of item {item}: not in stock"),
        }
    }
    let sold = loaded.map::<u32, u64>("sold")?;
    println!("sold of item 1: {}", sold.get(&1)?.unwrap_or(0));
    Ok(())
}
