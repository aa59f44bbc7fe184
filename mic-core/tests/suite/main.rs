//! Tests of the public interface, among them the comparisons with recorded reference numbers.
#![allow(clippy::unwrap_used)]

mod augment;
mod consistency;
mod golden;
mod mask;
mod pseudo_label;
mod sampling;
mod teacher;
mod training;
