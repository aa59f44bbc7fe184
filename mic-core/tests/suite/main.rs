//! Tests of the public interface, among them the comparisons with recorded reference numbers.
#![allow(clippy::unwrap_used)]

mod augment;
mod consistency;
#[path = "../../../testdata/golden.rs"]
mod golden;
mod mask;
mod pseudo_label;
mod sampling;
mod teacher;
mod training;
