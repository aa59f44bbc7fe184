//! Every op against a plain double-precision reference, on random shapes, layouts and values.
//!
//! A reference is the op's formula as loops, written here a second time and slowly. Gradients are
//! compared with central differences of the reference at a few places; single precision is then
//! compared with double precision everywhere. Each case is drawn from a seed of its own, which a
//! failure prints together with the shapes and layouts.

#![allow(clippy::unwrap_used)]

mod array;
mod case;
mod inputs;

mod attention;
mod convolution;
mod elementwise;
mod errors;
mod half;
mod layout;
mod losses;
mod norm;
mod pooling;
mod resize;
mod table;
