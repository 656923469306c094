//! Object files through the public API: every shape that compilers wrote, and every kind of damage.
#![cfg(test)]

mod assembly;
mod btf;
mod btf_builder;
mod btf_dedup;
mod btf_maps;
mod btf_write;
mod combine;
mod core;
mod core_sources;
mod externs;
mod fixtures;
mod globals;
mod hostile;
mod shapes;
mod struct_ops;
mod support;
mod touched_types;
mod upload;
